"""Keeps what an evaluation has done so far, so that an interrupted one goes on where it stopped."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pydantic import ValidationError

from api.evaluation.run import AnsweredQuery
from shared.errors import EvaluationError


class PartialRun:
    """A file of lines: the first says which evaluation it is of, each further one holds an answered query."""

    def __init__(self, path: Path, identity: str) -> None:
        """`identity` (one line) is equal for commands that would get the same answers.

        Raises `EvaluationError` where the file is another evaluation's, or cannot be used.
        """
        self.path = path
        self._identity = identity
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.answered = {query.key: query for query in self._read()}
            self._file: IO[bytes] = path.open("ab")
            if not self._file.tell():
                self._write(identity)
        except OSError as error:
            raise EvaluationError(f"{path} cannot be used ({error.strerror}): name another --output.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, queries: Iterable[AnsweredQuery]) -> None:
        """Keep answered queries; what is kept is on disk when this returns, unless the machine itself fails."""
        for query in queries:
            self.answered[query.key] = query
            self._write(query.model_dump_json())

    def remove(self) -> None:
        """Remove the file: the run is saved elsewhere."""
        self.path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def _read(self) -> list[AnsweredQuery]:
        """What an earlier command has kept; a last line that was cut off is removed."""
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self.path.write_bytes(whole)
        first, *lines = whole.splitlines() or [self._identity.encode()]
        if first != self._identity.encode():
            raise EvaluationError(
                f"{self.path} is what is left of another evaluation: remove it, or name another --output."
            )
        try:
            return [AnsweredQuery.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise EvaluationError(f"{self.path} is damaged: remove it, the evaluation begins anew then.") from error
