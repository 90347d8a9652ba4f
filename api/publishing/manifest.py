"""`manifest.json` of a data set: what `premises publish` says of the files beside it, and `premises fetch` checks."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import orjson
from pydantic import TypeAdapter, ValidationError

from shared.errors import CorpusError

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of the data set."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PublishedEmbeddings:
    """Embeddings by one model."""

    path: str
    model: str
    model_revision: str
    namespace: str | None
    """Of the model as a worker computes it; None: nothing says so."""
    rows: int
    dimension: int
    dtype: str


@dataclass(frozen=True, slots=True)
class PublishedManifest:
    """All of it."""

    format_version: int
    revision: str
    corpus_digest: str
    modules: int
    declarations: int
    premises: int
    files: list[PublishedFile]
    """All but the manifest itself, sorted by path."""
    embeddings: list[PublishedEmbeddings]
    published_by: str
    """Program and version."""
    published_at: str
    """UTC, ISO 8601."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one; raises `CorpusError` for what this version cannot read."""
        try:
            found = TypeAdapter(cls).validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{path} is no manifest of a published corpus ({reason}): publish it again.") from error
        if found.format_version != FORMAT_VERSION:
            raise CorpusError(
                f"{path} has the format {found.format_version}, this program reads {FORMAT_VERSION}: use its version."
            )
        return found

    def as_bytes(self) -> bytes:
        """As it is published."""
        return orjson.dumps(self, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def find_file(self, path: str) -> PublishedFile | None:
        """What is said of a file."""
        return next((file for file in self.files if file.path == path), None)

    def says_the_same_as(self, other: "PublishedManifest") -> bool:
        """Whether nothing but the date, or the program's version, differs."""
        return replace(self, published_at="", published_by="") == replace(other, published_at="", published_by="")
