"""A saved evaluation: what answered, and where the relevant premises of each query stood."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from api.evaluation.metrics import Judged, Values, metric_values
from api.file_replacement import replacing
from shared.errors import EvaluationError

FORMAT: Final = "premises-evaluation-1"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Answerer(_Frozen):
    """What answered the queries; null where it does not say."""

    through: Literal["http", "in process"]
    server: str | None = None
    """Address, without any key."""
    corpus_digest: str | None = None
    revision: str | None = None
    model: str | None = None
    namespace: str | None = None
    selector: str | None = None


class Provenance(_Frozen):
    """All that it takes to do the evaluation again."""

    program_version: str
    started_at: str
    """ISO 8601, UTC."""
    command: dict[str, bool | int | str]
    """The options of the command, keys left out."""
    evaluation_set: str
    """Name of the file."""
    evaluation_digest: str
    """SHA-256 of its content, unpacked."""
    corpus_digest: str
    """Of the corpus that accessible premises were read from."""
    revision: str
    answerer: Answerer


class AnsweredQuery(_Frozen):
    """One query and its ranking, in so far as metrics need it."""

    key: str
    decl_name: str
    module: str
    line: int
    accessible: int
    """Premises that could have been ranked."""
    retrieved: int
    """Length of the ranking."""
    relevant: int
    """Relevant premises that are accessible."""
    ranks: list[int]
    """Their places in the ranking, from 1, ascending; those below its end have none."""

    @property
    def judged(self) -> Judged:
        """What metrics need of it."""
        return Judged(self.relevant, self.ranks)


class QueryLeftOut(_Frozen):
    """A query that does not count, and why."""

    decl_name: str
    module: str
    line: int
    number: int
    """Line of the evaluation set, from 1."""
    why: str
    refused: bool = False
    """Whether the server would not rank it."""


class EvaluationRun(_Frozen):
    """Everything of one evaluation."""

    format: Literal["premises-evaluation-1"] = FORMAT
    provenance: Provenance
    k: int
    """Premises that were asked for: no cut-off can be larger."""
    answered: list[AnsweredQuery]
    left_out: list[QueryLeftOut]
    inaccessible: int = 0
    """Relevant premises of the answered queries that are not accessible; they do not count."""

    @property
    def label(self) -> str:
        """What a plot calls it: the model and how it ranks."""
        answerer = self.provenance.answerer
        return ", ".join(part for part in (answerer.model or "unknown model", answerer.selector) if part)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a saved run; raises `EvaluationError` where it is none."""
        try:
            run = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise EvaluationError(f"{path} cannot be read ({error.strerror}): name a run saved by --output.") from error
        except ValidationError as error:
            raise EvaluationError(f"{path} is no saved run: name a file that `--output` wrote.") from error
        if not run.answered:
            raise EvaluationError(f"{path} has no answered query: there is nothing to show.")
        return run

    def write(self, path: Path) -> None:
        """Save it; a kill leaves the earlier file as it was.  Raises `EvaluationError` where that cannot be."""
        try:
            with replacing(path) as unfinished:
                unfinished.write_text(self.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise EvaluationError(f"{path} cannot be written ({error.strerror}): name another file.") from error

    def values(self, cutoffs: Sequence[int], queries: Sequence[AnsweredQuery] | None = None) -> Values:
        """Every metric at cut-offs (at most `k`), of all answered queries or of some."""
        chosen = self.answered if queries is None else queries
        return metric_values([query.judged for query in chosen], cutoffs)
