"""Vectors that are known from corpora: mapped files beside the cache, which cost Redis no memory and cannot be evicted.

Two kinds of folders hold them: snapshots, and those of computed vectors (`api/vector_folder.py`).  Nothing but the very
same text, to the byte, in the very same namespace gets such a vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.text_keys import TextKeys, pack_keys
from api.vector_lengths import unusable_rows
from shared.embedding_cache import Vector, VectorCodec
from shared.errors import CorpusError

FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class KnownVectors:
    """Vectors of one set of texts in one namespace."""

    namespace: str
    digest: str
    """Of the corpus, or of what else the texts are."""
    keys: TextKeys
    vectors: Vector
    """Mapped, shape (rows, dimension)."""

    @classmethod
    def open(cls, folder: Path, vectors: Vector, *, namespace: str, digest: str) -> Self:
        """Map the keys in a folder, which are those of the vectors; raises `CorpusError` where they are damaged."""
        keys = TextKeys.open(folder)
        if len(keys.rows) and int(keys.rows.max()) >= len(vectors):
            raise CorpusError(f"{folder} has keys of other vectors: remove it and prepare the corpus again.")
        return cls(namespace, digest, keys, vectors)

    def find(self, keys: NDArray[np.bytes_], *, normalized: bool = False) -> tuple[NDArray[np.intp], Vector]:
        """Positions of the keys that are known, shape (n,), and copies of their vectors, shape (n, dimension).

        What is no vector, or not of length 1 where all are (`normalized`), is not known.
        """
        rows = self.keys.find(keys)
        known = np.flatnonzero(rows >= 0)
        vectors = np.asarray(self.vectors[rows[known]], np.float32)
        unusable = unusable_rows(vectors, normalized=normalized)
        return np.delete(known, unusable), np.delete(vectors, unusable, axis=0)


def map_last_rows(path: Path, shape: tuple[int, int]) -> Vector:
    """Map the float32 array that a file ends with, as .npy files and FAISS's flat indices do, read-only."""
    numbers = FLOAT32.itemsize * shape[0] * shape[1]
    try:
        start = path.stat().st_size - numbers
        if start < 0 or not numbers:
            raise CorpusError(f"{path} is cut short: remove its folder and prepare the corpus again.")
        return np.memmap(path, FLOAT32, mode="r", offset=start, shape=shape)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}): prepare the corpus again.") from error


@dataclass
class KnownTables:
    """All that a process knows without asking Redis; sets of texts come and go while it runs."""

    _by_namespace: dict[str, tuple[KnownVectors, ...]] = field(default_factory=dict)

    def add(self, known: KnownVectors) -> None:
        """Answer from these vectors too, from now on."""
        self._by_namespace[known.namespace] = (*self._by_namespace.get(known.namespace, ()), known)

    def remove(self, known: KnownVectors) -> None:
        """Forget them; a look-up that has begun ends with them."""
        tables = self._by_namespace.get(known.namespace, ())
        self._by_namespace[known.namespace] = tuple(table for table in tables if table is not known)

    def texts(self) -> int:
        """How many texts are known, of all namespaces; one that is in several sets counts in each."""
        return sum(len(table.keys.keys) for tables in self._by_namespace.values() for table in tables)

    def has(self, namespace: str, digest: str) -> bool:
        """Whether a set of texts of this digest is among them."""
        return any(table.digest == digest for table in self._by_namespace.get(namespace, ()))

    def keys_among(self, keys: Sequence[str]) -> set[str]:
        """Which of the keys are known in some namespace."""
        packed = pack_keys(keys)
        found = (table.find(packed)[0] for tables in self._by_namespace.values() for table in tables)
        return {keys[position] for positions in found for position in positions}

    def find(self, codec: VectorCodec, keys: Sequence[str]) -> Mapping[str, Vector]:
        """Vectors by content hash (32 hexadecimal digits); what is not known, or does not fit, is left out."""
        found: dict[str, Vector] = {}
        for table in self._by_namespace.get(codec.namespace, ()):
            wanted = [key for key in keys if key not in found]
            if not wanted:
                break
            if table.vectors.shape[1] != codec.dimension:
                continue
            positions, vectors = table.find(pack_keys(wanted), normalized=codec.normalized)
            found.update((wanted[position], vector) for position, vector in zip(positions, vectors, strict=True))
        return found
