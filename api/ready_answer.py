"""Answers whose bytes are made once, plain and gzipped: large ones in files that every API process of a host maps."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from api.mapped_file import map_bytes

GZIP_LEVEL = 6
"""Level 9 takes three times as long for one hundredth less."""

ContentCoding = Literal["identity", "gzip"]


@dataclass(frozen=True, slots=True)
class Representation:
    """One form of an answer."""

    content: memoryview
    """Mapped, where it is large: holding it costs no memory of the process's own."""
    coding: ContentCoding
    etag: str
    """A strong validator with its quotes: equal exactly for equal bytes."""

    @classmethod
    def open(cls, path: Path, coding: ContentCoding) -> Self:
        """Map a file; raises `CorpusError` where it is missing or empty."""
        return cls.of(memoryview(map_bytes(path)), coding)

    @classmethod
    def of(cls, content: memoryview, coding: ContentCoding) -> Self:
        """The form that these bytes are."""
        return cls(content, coding, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """The forms of one answer."""

    plain: Representation
    gzipped: Representation

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map what `write_ready_answer` wrote; raises `CorpusError` where a file is missing or empty."""
        return cls(Representation.open(path, "identity"), Representation.open(_gzipped(path), "gzip"))

    @classmethod
    def of(cls, content: bytes) -> Self:
        """A small answer, kept in memory."""
        gzipped = _compress(content)
        return cls(Representation.of(memoryview(content), "identity"), Representation.of(memoryview(gzipped), "gzip"))


def write_ready_answer(path: Path, content: bytes) -> None:
    """Write an answer and, beside it, its gzipped form; equal contents give equal files."""
    path.write_bytes(content)
    _gzipped(path).write_bytes(_compress(content))


def _compress(content: bytes) -> bytes:
    return gzip.compress(content, GZIP_LEVEL, mtime=0)


def _gzipped(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")
