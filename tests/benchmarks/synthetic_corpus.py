"""A corpus of Mathlib's size to search: real names and modules where the data is at hand, vectors in clusters."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.archive import unpack_corpus
from shared.corpus import Corpus, Premise, read_corpus

Vectors = NDArray[np.float32]

PREMISES, MODULES, DIMENSION = 362_729, 9_530, 768
CLUSTERS, NEARNESS = 2_000, 0.7
BLOCK_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class NamedRows:
    """Names and modules of a corpus' rows, as selection asks for them; every premise is visible, none was filtered."""

    all_names: list[str]
    module_of_row: NDArray[np.int32]
    modules: list[str]

    @property
    def is_theorem(self) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(len(self.all_names), dtype=np.bool_)

    in_module_system = is_exposed = is_theorem

    @cached_property
    def row_of_unfiltered(self) -> NDArray[np.int32]:
        """Nothing was filtered."""
        return np.arange(len(self.all_names), dtype=np.int32)

    def names(self, rows: NDArray[np.integer]) -> list[str]:
        """Names of rows, in their order."""
        return [self.all_names[row] for row in rows.tolist()]

    def find_rows(self, names: Sequence[str]) -> NDArray[np.int32]:
        """No name is asked for here."""
        return np.full(len(names), -1, dtype=np.int32)

    def find_module(self, name: str) -> int:
        """Position in `modules`, -1 where unknown."""
        return self.modules.index(name) if name in self.modules else -1

    def visible_modules(self, share: float, seed: int) -> list[int]:
        """A random choice of modules that holds about this share of the rows."""
        order = np.random.default_rng(seed).permutation(len(self.modules))
        sizes = np.bincount(self.module_of_row, minlength=len(self.modules))[order]
        return sorted(order[: int(np.searchsorted(np.cumsum(sizes), share * len(self.all_names))) + 1].tolist())


def named_rows(archive: Path | None, folder: Path) -> NamedRows:
    """Those of a corpus archive (unpacked into `folder`), or made-up ones of Mathlib's size without one."""
    if archive is None:
        borders = np.sort(np.random.default_rng(0).integers(0, PREMISES, MODULES - 1))
        names = [f"Some.Namespace{row % 977}.statement_{row}" for row in range(PREMISES)]
        modules = np.searchsorted(borders, np.arange(PREMISES), side="right").astype(np.int32)
        return NamedRows(names, modules, [f"Some.Module{number:05}" for number in range(MODULES)])
    corpus = read_corpus(unpack_corpus(archive, folder / "corpus"))
    position = {name: place for place, name in enumerate(corpus.modules)}
    modules = np.array([position[premise.module] for premise in corpus.premises], dtype=np.int32)
    return NamedRows([premise.name for premise in corpus.premises], modules, corpus.modules)


def synthetic_corpus() -> Corpus:
    """A corpus to serve with made-up names, for want of the data."""
    rows = named_rows(None, Path())
    premises = [
        Premise(
            name,
            rows.modules[module],
            text=f"theorem {name}  : True",
            kind="theorem",
            binders_start=len(f"theorem {name} "),
            type_start=len(f"theorem {name}  : "),
            in_module_system=False,
            is_exposed=False,
        )
        for name, module in zip(rows.all_names, rows.module_of_row.tolist(), strict=True)
    ]
    return Corpus("synthetic", rows.modules, rows.all_names, premises, rows.row_of_unfiltered, "0" * 64)


def clustered_vectors(rows: int, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    """Unit vectors around `CLUSTERS` centres, shape (rows, dimension)."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLUSTERS, dimension), dtype=np.float32)
    vectors = np.empty((rows, dimension), dtype=np.float32)
    for start in range(0, rows, BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        rng.standard_normal(dtype=np.float32, out=block)
        block += NEARNESS * centres[rng.integers(0, CLUSTERS, len(block))]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def queries_near(vectors: Vectors, count: int, seed: int = 1) -> Vectors:
    """Unit vectors like goals: near some row, at a cosine of about 0.7."""
    rng = np.random.default_rng(seed)
    near = vectors[np.sort(rng.integers(0, len(vectors), count))]
    noise = rng.standard_normal(near.shape, dtype=np.float32)
    queries = near + noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(queries / np.linalg.norm(queries, axis=1, keepdims=True), dtype=np.float32)
