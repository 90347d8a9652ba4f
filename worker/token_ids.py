"""Tokenised texts."""

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]
"""Token ids of one text, special tokens included, shape (tokens,)."""
