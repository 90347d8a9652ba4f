"""Kinds and statements of the corpus's rows in memory-mapped files, read a few rows at a time.

Each row has three texts: kind, binders, resulting type.  `statements.txt` holds all of them behind one another, each
with a newline for the eye alone; the offsets decide, whatever a text holds.  As with the names, all replicas of a host
share the pages.
"""

import mmap
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.mapped_file import map_array, map_bytes
from api.name_table import Rows
from shared.corpus import Premise

TEXT_FILE = "statements.txt"
STARTS_FILE = "statement-starts.npy"

TEXTS_OF_A_ROW = 3
WRITE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Statement:
    """What a premise says, as the corpus prints it."""

    kind: str
    """`theorem`, `def`, `instance`, …"""
    binders: str
    """In their brackets, joined by spaces; empty where there are none."""
    result_type: str

    @property
    def signature(self) -> str:
        """What stands behind the name in a declaration."""
        return f"{self.binders} : {self.result_type}" if self.binders else f": {self.result_type}"

    @property
    def formal_type(self) -> str:
        """The whole type as a Lean term; `∀` binds in types of data too."""
        return f"∀ {self.binders}, {self.result_type}" if self.binders else self.result_type


class StatementTable:
    """Statements by row."""

    def __init__(self, text: mmap.mmap, starts: NDArray[np.int64]) -> None:
        self._text = text
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts) // TEXTS_OF_A_ROW

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the table that `write_statements` left in a folder."""
        return cls(map_bytes(folder / TEXT_FILE), map_array(folder / STARTS_FILE, np.int64))

    def statements(self, rows: Rows) -> list[Statement]:
        """Statements of rows, in their order."""
        return [self._statement(row) for row in np.asarray(rows).tolist()]

    def _statement(self, row: int) -> Statement:
        starts = self._starts[row * TEXTS_OF_A_ROW : (row + 1) * TEXTS_OF_A_ROW + 1].tolist()
        kind, binders, result_type = (self._text[start : end - 1].decode() for start, end in pairwise(starts))
        return Statement(kind, binders, result_type)


def write_statements(folder: Path, premises: Sequence[Premise]) -> None:
    """Write the table of at least one premise, by and by: all texts at once would take as much memory again."""
    starts, end = array("q", [0]), 0
    with (folder / TEXT_FILE).open("wb", buffering=WRITE_BYTES) as file:
        for premise in premises:
            for text in (premise.kind, premise.binders, premise.result_type):
                end += file.write(text.encode() + b"\n")
                starts.append(end)
    np.save(folder / STARTS_FILE, np.frombuffer(starts, dtype=np.int64))
