"""The learned ranking: a small network over the features of a candidate, evaluated by numpy.

It is trained by `tests/benchmarks/train_ranker.py` and lies in `trained/` beside this file: the weights, how often the
development set's proofs use each premise, and a manifest that says what both were made from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import orjson
from numpy.typing import NDArray

from api.lexical.bm25 import Scores
from api.lexical.features import FEATURES, Values
from shared.errors import CorpusError

TRAINED = Path(__file__).with_name("trained")
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "weights.npz"
USES_FILE = "uses.json"

BLOCK_ROWS = 64
"""Products this small are computed in the calling thread; to wake numpy's others takes a hundred times as long."""

VERSION = 1
"""One more whenever features change their meaning without changing their names."""


@dataclass(frozen=True, eq=False)
class Ranker:
    """Layers of weights, shape (inputs, outputs), and biases; the last has one output."""

    mean: Values
    """Of each feature where it was trained, shape (features,)."""
    scale: Values
    """One over the deviation."""
    layers: tuple[tuple[Values, Values], ...]
    calibration: tuple[float, float]
    """Slope and offset that make the last output a logit of the chance that a proof uses the premise."""

    @classmethod
    def load(cls, folder: Path = TRAINED) -> Self:
        """Read a trained ranking; raises `CorpusError` where it is of other features than these."""
        manifest = orjson.loads((folder / MANIFEST_FILE).read_bytes())
        if (manifest["version"], tuple(manifest["features"])) != (VERSION, FEATURES):
            raise CorpusError(f"The ranking in {folder} was trained on other features: train it again.")
        with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as arrays:
            count = len(arrays.files) // 2 - 1
            layers = tuple((arrays[f"weights{layer}"], arrays[f"biases{layer}"]) for layer in range(count))
            return cls(arrays["mean"], arrays["scale"], layers, tuple(manifest["calibration"]))

    def score(self, features: Values) -> Scores:
        """Between 0 and 1, shape (candidates,), for features of shape (candidates, len(FEATURES))."""
        slope, offset = self.calibration
        return np.asarray(1 / (1 + np.exp(-(slope * self.outputs(features) + offset))), dtype=np.float32)

    def outputs(self, features: Values) -> Scores:
        """What the network gives, on no scale in particular, shape (candidates,)."""
        starts = range(0, max(len(features), 1), BLOCK_ROWS)
        return np.concatenate([self._outputs_of_block(features[start : start + BLOCK_ROWS]) for start in starts])

    def _outputs_of_block(self, features: Values) -> Scores:
        values: NDArray[np.float32] = (features - self.mean) * self.scale
        for place, (weights, biases) in enumerate(self.layers):
            values = values @ weights + biases
            if place < len(self.layers) - 1:
                values = np.maximum(values, 0)
        return values[:, 0]


def load_uses(folder: Path = TRAINED) -> Mapping[str, int]:
    """How many of the development set's proofs use each premise, by its name."""
    uses: dict[str, int] = orjson.loads((folder / USES_FILE).read_bytes())
    return uses
