"""How near modules are to each other by their names: `A.B.C` shares two components with `A.B.D`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DEPTH = 5
DIRECTORY_DEPTH = 3
"""Modules that share so many components stand in one directory: `Mathlib.Topology.Algebra`."""
NO_PATH = -1

Paths = NDArray[np.int32]


def number_paths(modules: Sequence[str]) -> Paths:
    """Numbers of each module's leading parts, shape (modules, DEPTH); NO_PATH beyond its end."""
    numbers: dict[str, int] = {}
    paths = np.full((len(modules), DEPTH), NO_PATH, dtype=np.int32)
    for place, module in enumerate(modules):
        components = module.split(".")[:DEPTH]
        for depth in range(len(components)):
            paths[place, depth] = numbers.setdefault(".".join(components[: depth + 1]), len(numbers))
    return paths


def count_shared(paths: Paths, path: NDArray[np.int32]) -> NDArray[np.float32]:
    """Leading components that each path has in common with one, shape (len(paths),)."""
    return np.asarray(np.count_nonzero((paths == path) & (path != NO_PATH), axis=1), dtype=np.float32)
