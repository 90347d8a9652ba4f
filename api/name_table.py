"""Names of the corpus's rows in memory-mapped files: row to name by offsets, name to row by sorted hashes.

A dictionary of 360,000 names costs every process 50 MB and half a second; this costs neither, because its pages are
shared by all replicas of a host.  A hash only proposes a row; the names' bytes decide.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.mapped_file import map_array, map_bytes

Rows = NDArray[np.integer]

TABLE = "name"
"""What the table of premises' names calls its files by; a table of other words says its own."""

TEXT_FILE = "{}s.txt"
STARTS_FILE = "{}-starts.npy"
HASHES_FILE = "{}-hashes.npy"
ROWS_FILE = "{}-rows.npy"
TABLE_FILES = (TEXT_FILE, STARTS_FILE, HASHES_FILE, ROWS_FILE)

CHUNK_NAMES = 16_384
"""Names looked up at a time: bounds what a request with many of them takes of memory."""

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Of the polynomial hash modulo 2**64: odd, so that no power of it is zero."""


class NameTable:
    """Unique names by row and rows by name."""

    def __init__(
        self, text: mmap.mmap, starts: NDArray[np.int64], hashes: NDArray[np.uint64], rows: NDArray[np.int32]
    ) -> None:
        self._text = text
        self._starts = starts
        self._hashes = hashes
        self._rows = rows
        self._longest = int(np.diff(starts).max()) - 1

    @classmethod
    def open(cls, folder: Path, table: str = TABLE) -> Self:
        """Map the table that `write_names` left in a folder."""
        return cls(
            map_bytes(folder / TEXT_FILE.format(table)),
            map_array(folder / STARTS_FILE.format(table), np.int64),
            map_array(folder / HASHES_FILE.format(table), np.uint64),
            map_array(folder / ROWS_FILE.format(table), np.int32),
        )

    def names(self, rows: Rows) -> list[str]:
        """Names of rows, in their order."""
        rows = np.asarray(rows)
        spans = zip(self._starts[rows].tolist(), self._starts[rows + 1].tolist(), strict=True)
        return [self._text[start : end - 1].decode() for start, end in spans]

    def find_rows(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Rows of names, -1 where unknown, shape (len(names),)."""
        rows = np.full(len(names), -1, dtype=np.int32)
        for start in range(0, len(names), CHUNK_NAMES):
            chunk = slice(start, start + CHUNK_NAMES)
            rows[chunk] = self._find_chunk([_encode(name) for name in names[chunk]])
        return rows

    def _find_chunk(self, names: Sequence[bytes]) -> NDArray[np.int32]:
        rows = np.full(len(names), -1, dtype=np.int32)
        pending = np.flatnonzero(_lengths(names) <= self._longest)
        hashes = _hash_names([names[place] for place in pending.tolist()])
        positions = np.searchsorted(self._hashes, hashes)
        while len(pending):
            proposed = self._proposes(positions, hashes)
            pending, positions, hashes = pending[proposed], positions[proposed], hashes[proposed]
            candidates = self._rows[positions]
            equal = self._are_equal(candidates, [names[place] for place in pending.tolist()])
            rows[pending[equal]] = candidates[equal]
            # Another name may have the same hash: it stands next in the order.
            pending, positions, hashes = pending[~equal], positions[~equal] + 1, hashes[~equal]
        return rows

    def _proposes(self, positions: NDArray[np.intp], hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        proposed: NDArray[np.bool_] = self._hashes[np.minimum(positions, len(self._hashes) - 1)] == hashes
        return proposed & (positions < len(self._hashes))

    def _are_equal(self, rows: Rows, names: Sequence[bytes]) -> NDArray[np.bool_]:
        spans = zip(names, self._starts[rows].tolist(), self._starts[rows + 1].tolist(), strict=True)
        return np.fromiter((self._text[start : end - 1] == name for name, start, end in spans), np.bool_, len(names))


def write_names(folder: Path, names: Sequence[str], table: str = TABLE) -> None:
    """Write the table of at least one unique names: row `i` is `names[i]`.

    The text has a newline behind each name for the eye alone; the offsets decide, whatever a name holds.
    """
    encoded = [_encode(name) for name in names]
    starts = np.concatenate([[0], np.cumsum(_lengths(encoded) + 1)])
    hashes = np.concatenate(
        [_hash_names(encoded[start : start + CHUNK_NAMES]) for start in range(0, len(encoded), CHUNK_NAMES)]
    )
    order = np.argsort(hashes, kind="stable")
    (folder / TEXT_FILE.format(table)).write_bytes(b"".join(name + b"\n" for name in encoded))
    np.save(folder / STARTS_FILE.format(table), starts.astype(np.int64))
    np.save(folder / HASHES_FILE.format(table), hashes[order])
    np.save(folder / ROWS_FILE.format(table), order.astype(np.int32))


def _encode(name: str) -> bytes:
    """A lone surrogate in a caller's name is kept: it equals no name, and that is the answer."""
    return name.encode("utf-8", "surrogatepass")


def _lengths(names: Sequence[bytes]) -> NDArray[np.int64]:
    return np.fromiter(map(len, names), np.int64, len(names))


def _hash_names(names: Sequence[bytes]) -> NDArray[np.uint64]:
    """Sum of (byte + 1) · MULTIPLIER^(place + 1) modulo 2**64 of each name, by differences of one running sum."""
    lengths = _lengths(names)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    values = np.frombuffer(b"".join(names), dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    powers = np.cumprod(np.full(lengths.max(initial=0), MULTIPLIER, dtype=np.uint64))
    terms = values * powers[np.arange(len(values)) - np.repeat(starts, lengths)]
    sums: NDArray[np.uint64] = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms)])
    hashes: NDArray[np.uint64] = sums[ends] - sums[starts]
    return hashes
