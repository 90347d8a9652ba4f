"""Reads evaluation sets: goals with the premises that their proofs use, one JSON object a line."""

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from shared.errors import EvaluationError

GZIP_MAGIC = b"\x1f\x8b"
KEY_DIGITS = 16


class _Line(BaseModel):
    """The fields of a line that are read; further ones are ignored."""

    model_config = ConfigDict(frozen=True)

    decl_name: StrictStr
    module: StrictStr
    line: StrictInt = Field(ge=0)
    state: StrictStr
    relevant: list[StrictStr]


@dataclass(frozen=True, slots=True)
class EvaluationQuery:
    """A goal, and the premises that the proof of its theorem uses."""

    decl_name: str
    """The theorem that the goal is of."""
    module: str
    line: int
    """Where the theorem begins in its module, from 1."""
    state: str
    relevant: frozenset[str]
    number: int
    """Line of the evaluation set, from 1."""

    @property
    def key(self) -> str:
        """Names the query in saved runs: equal where goal, place and relevant premises are equal."""
        parts = [self.decl_name, self.module, self.line, self.state, sorted(self.relevant)]
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:KEY_DIGITS]


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """The queries of one file."""

    path: Path
    digest: str
    """SHA-256 of the file, unpacked, in hexadecimal digits."""
    queries: Sequence[EvaluationQuery]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a `.jsonl` or `.jsonl.gz`; raises `EvaluationError` naming the file and the line that is broken."""
        content = _read(path)
        lines = content.split(b"\n")
        queries = [_query(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        if not queries:
            raise EvaluationError(f"{path} has no queries: an evaluation set is one JSON object a line.")
        _require_different(path, queries)
        return cls(path, hashlib.sha256(content).hexdigest(), queries)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise EvaluationError(f"{path} is no whole gzip file ({error}): fetch or make it again.") from error
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}): name an evaluation set, a .jsonl.") from error


def _query(path: Path, number: int, line: bytes) -> EvaluationQuery:
    try:
        fields = _Line.model_validate(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        raise EvaluationError(f"{path}, line {number}: not valid JSON in UTF-8 ({error}). Mend the line.") from error
    except ValidationError as error:
        raise EvaluationError(f"{path}, line {number}: {_first_fault(error)}. Mend the line.") from None
    return EvaluationQuery(
        fields.decl_name, fields.module, fields.line, fields.state, frozenset(fields.relevant), number
    )


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in fault["loc"])
    return f"field '{field}': {fault['msg']}" if field else str(fault["msg"])


def _require_different(path: Path, queries: Sequence[EvaluationQuery]) -> None:
    """A query that is there twice would count twice, and could not be paired with that of another run."""
    line_of_key: dict[str, int] = {}
    for query in queries:
        first = line_of_key.setdefault(query.key, query.number)
        if first != query.number:
            raise EvaluationError(
                f"{path}, line {query.number}: the same query as on line {first}. Remove one of them."
            )
