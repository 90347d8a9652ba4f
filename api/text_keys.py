"""Content hashes of texts in a memory-mapped table: sorted, with the row of each text's vector in another file.

A hash is what the vector cache calls the text by (`shared/embedding_cache.py`), so a text is found only where it is the
same to the byte.  As with names, all processes of a host share the pages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.file_replacement import replacing
from api.mapped_file import map_array
from shared.embedding_cache import text_key
from shared.errors import CorpusError

KEYS_FILE = "text-keys.npy"
ROWS_FILE = "text-key-rows.npy"

KEY = np.dtype("S16")
"""128 bits.  Zeros at the end are as good as none for numpy, and all keys are of one length, so that does no harm."""


@dataclass(frozen=True, eq=False)
class TextKeys:
    """Where the vectors of texts lie."""

    keys: NDArray[np.bytes_]
    """Sorted, shape (texts,)."""
    rows: NDArray[np.int32]
    """Row of each key's vector, shape (texts,)."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """The table of texts whose rows are their positions."""
        keys = pack_keys([text_key(text) for text in texts])
        order = np.argsort(keys, kind="stable").astype(np.int32)
        return cls(keys[order], order)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the table that `write` left in a folder; raises `CorpusError` where it is damaged."""
        keys, rows = map_array(folder / KEYS_FILE, KEY), map_array(folder / ROWS_FILE, np.dtype(np.int32))
        if len(keys) != len(rows):
            raise CorpusError(f"{folder / KEYS_FILE} is damaged: remove its folder and prepare the corpus again.")
        return cls(keys, rows)

    def write(self, folder: Path) -> None:
        """Write the table; the keys come last, so that where they are, all is."""
        for name, array in ((ROWS_FILE, self.rows), (KEYS_FILE, self.keys)):
            with replacing(folder / name) as unfinished, unfinished.open("wb") as file:
                np.save(file, array)

    def find(self, keys: NDArray[np.bytes_]) -> NDArray[np.int32]:
        """Row of each key, -1 where it is not in the table, shape (len(keys),)."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int32)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.rows[places], np.int32(-1))


def pack_keys(keys: Sequence[str]) -> NDArray[np.bytes_]:
    """Content hashes, each of 32 hexadecimal digits, as an array of shape (len(keys),)."""
    return np.frombuffer(bytes.fromhex("".join(keys)), KEY)
