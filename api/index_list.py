"""A request's list of positions and names, kept as JSON text until somebody needs it as arrays.

A client sends the same imports again and again, and `local_premises` can hold 250,000 integers.  Most of the time the
hash of the text is all that is needed; where the values are needed, a plain list of integers is read by numpy in one
go, without a Python object for each of them.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
import orjson
from numpy.typing import NDArray

LARGEST_INTEGER = 2**53 - 1
"""Largest position that is kept; no corpus has as many premises, and JSON readers disagree beyond it."""

_COMMA, _ZERO = b",0"


class IndexList:
    """An array of integers (positions) and strings (names); equal texts have equal digests."""

    def __init__(self, text: bytes, *, integers_only: bool = False) -> None:
        self._text = text
        self._integers_only = integers_only

    @classmethod
    def of(cls, values: Sequence[int | str]) -> Self:
        """Build from values; integers beyond ±2**53 are left out, because they can point at nothing.

        A string with a lone surrogate raises `orjson.JSONEncodeError`.
        """
        try:
            return cls(orjson.dumps(values, option=orjson.OPT_STRICT_INTEGER))
        except orjson.JSONEncodeError:
            kept = [value for value in values if isinstance(value, str) or abs(value) <= LARGEST_INTEGER]
            return cls(orjson.dumps(kept, option=orjson.OPT_STRICT_INTEGER))

    @classmethod
    def of_plain_integers(cls, text: bytes) -> Self | None:
        """Build from JSON text like `[1,20,3]` (no blanks, no signs); None where the text is anything else."""
        return cls(text, integers_only=True) if _holds_plain_integers(text) else None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the text."""
        return hashlib.sha256(self._text).digest()

    def split(self) -> tuple[NDArray[np.int64], list[str]]:
        """The positions (int64, in the list's order; unchecked, may be negative or too large) and the names."""
        if self._integers_only:
            return _parse_integers(self._text[1:-1]), []
        values = orjson.loads(self._text)
        positions = np.array([value for value in values if isinstance(value, int)], dtype=np.int64)
        return positions, [value for value in values if isinstance(value, str)]


def _holds_plain_integers(text: bytes) -> bool:
    """Whether the brackets hold JSON integers without sign and nothing else, separated by single commas."""
    if text[:1] != b"[" or text[-1:] != b"]" or text[1:-1].translate(None, b"0123456789,"):
        return False
    characters = np.frombuffer(text, dtype=np.uint8)
    separates = characters == _COMMA
    separates[[0, -1]] = True
    follows = separates[:-1] & separates[1:]
    leads_a_number = separates[:-2] & (characters[1:-1] == _ZERO) & ~separates[2:]
    return text == b"[]" or not (follows.any() or leads_a_number.any())


def _parse_integers(digits: bytes) -> NDArray[np.int64]:
    """Integers of more than 63 bits become the largest int64, which points at nothing."""
    if not digits:
        return np.empty(0, dtype=np.int64)
    return np.fromstring(digits, dtype=np.int64, sep=",")
