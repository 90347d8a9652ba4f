"""Carries out one `premises evaluate`: reads corpus and queries, opens what ranks, keeps what is done."""

import asyncio
import hashlib
import random
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict

from api.commands.child_process import INTERRUPTED
from api.commands.corpus_argument import open_named_corpus, settings_of_corpus
from api.commands.output import progress_bar
from api.commands.readiness import base_url
from api.commands.running_server import of_running_server
from api.evaluation.accessible_premises import AccessiblePremises, LeftOut, PlacedCorpus, PlacedQuery
from api.evaluation.evaluation_set import EvaluationQuery, EvaluationSet
from api.evaluation.evaluator import Evaluator
from api.evaluation.partial_run import PartialRun
from api.evaluation.ranker import Ranker, RankingRequest
from api.evaluation.run import Answerer, EvaluationRun, Provenance, QueryLeftOut
from api.file_replacement import regular_target
from shared.artifacts import DEMO
from shared.corpus import Corpus, read_corpus
from shared.demo import demo_evaluation_path
from shared.errors import EvaluationError, NotReadyError, PremiseServerError
from shared.settings import Settings, load_settings

PROGRAM = "lean-premise-server"
PARTIAL_SUFFIX = ".partial"
FOLDER = "evaluations"
DIGITS = 16

PROBE = "⊢ True"
NOTHING = AccessiblePremises(np.empty(0, np.int64), np.empty(0, np.int64), 0)

HOW_TO_GET_WORKERS = (
    "An evaluation in this process takes goal vectors from a worker: let `make serve` run with the same DATA_DIR and "
    "MODEL_ID, or set REDIS_URL to the Redis of a deployment."
)


class EvaluationOptions(BaseModel):
    """The options of the command."""

    model_config = ConfigDict(frozen=True)

    evaluation_set: str
    data: str | None
    server: str | None
    key: str | None
    in_process: bool
    embeddings: str | None
    data_dir: str | None
    selector: str | None
    k: int
    limit: int | None
    sample: int | None
    seed: int
    concurrency: int
    output: Path | None

    def settings(self) -> Settings:
        """The environment's settings with what the options say."""
        given = {"data_dir": self.data_dir and Path(self.data_dir), "embeddings": self.embeddings}
        settings = load_settings().model_copy(update={name: value for name, value in given.items() if value})
        named = self.data or settings.data or settings.data_revision
        return settings_of_corpus(self.data if named else DEMO, settings)

    def as_saved(self) -> dict[str, bool | int | str]:
        """What a saved run says of them: no key, neither here nor in the address."""
        saved = self.model_dump(mode="json", exclude={"key", "server", "output", "data_dir"})
        return {name: value for name, value in saved.items() if value is not None}


def choose(
    queries: Sequence[EvaluationQuery], *, limit: int | None, sample: int | None, seed: int
) -> list[EvaluationQuery]:
    """The first `limit` queries, or `sample` of them at random, in their order; all of them where neither is given."""
    if sample is not None and sample < len(queries):
        return sorted(random.Random(seed).sample(list(queries), sample), key=lambda query: query.number)
    return list(queries[:limit])


@dataclass(frozen=True)
class Questions:
    """What is asked, and over which corpus."""

    evaluation_set: EvaluationSet
    corpus: Corpus
    placed: Sequence[PlacedQuery]
    left_out: Sequence[LeftOut]

    @classmethod
    def read(cls, options: EvaluationOptions, settings: Settings) -> Self:
        """Read set and corpus; raises `EvaluationError` where no query can be evaluated."""
        path = demo_evaluation_path() if options.evaluation_set == DEMO else Path(options.evaluation_set).expanduser()
        evaluation_set = EvaluationSet.read(path)
        chosen = choose(evaluation_set.queries, limit=options.limit, sample=options.sample, seed=options.seed)
        named = open_named_corpus(None, settings)
        corpus = read_corpus(named.folder, on_broken_line=settings.corpus_on_broken_line)
        places = PlacedCorpus.read(named.folder, named.archive or named.folder, corpus)
        found = [places.place(query) for query in chosen]
        placed = [query for query in found if isinstance(query, PlacedQuery)]
        left_out = [query for query in found if isinstance(query, LeftOut)]
        if not placed:
            raise EvaluationError(
                f"None of the {len(found)} queries of {path} can be evaluated over {named.name}: that of line "
                f"{left_out[0].query.number} for example: {left_out[0].why}. Name the corpus of the set by --data."
            )
        return cls(evaluation_set, corpus, placed, left_out)

    def digest(self) -> str:
        """Of the queries that are asked."""
        return hashlib.sha256("".join(query.query.key for query in self.placed).encode()).hexdigest()


class EvaluationSession:
    """One evaluation; `partial` is known from the first answer on."""

    def __init__(self, options: EvaluationOptions) -> None:
        self._options = options
        self._settings = options.settings()
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.partial: PartialRun | None = None

    def run(self) -> EvaluationRun:
        """Carry it out, and save it where `output` says; raises what reading, ranking and saving raise.

        What is answered is kept from moment to moment.  Ctrl-C ends the program with a word on where.
        """
        if self._options.output:
            regular_target(self._options.output)
        with self._prepared_snapshot() as folder:
            return self._run(folder)

    def _run(self, folder: Path | None) -> EvaluationRun:
        questions = Questions.read(self._options, self._settings)
        try:
            run = asyncio.run(self._answer(questions, folder))
        except KeyboardInterrupt:
            print(f"Interrupted. {self._kept()}", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except PremiseServerError as error:
            raise EvaluationError(f"{error} {self._kept()}") from error
        if self._options.output:
            run.write(self._options.output)
        if self.partial:
            self.partial.remove()
        return run

    async def _answer(self, questions: Questions, folder: Path | None) -> EvaluationRun:
        async with self._open_ranker(questions, folder) as ranker:
            path, identity = self._partial_path(questions, ranker.answerer)
            with PartialRun(path, identity) as partial:
                self.partial = partial
                total, done = len(questions.placed), len(partial.answered)
                with progress_bar("Evaluating", total, " queries", done) as bar:
                    evaluator = Evaluator(ranker, partial, self._options.k, self._options.selector)
                    evaluator.concurrency, evaluator.on_done = self._options.concurrency, bar.update
                    await evaluator.evaluate(questions.placed)
            return self._made_run(questions, evaluator)

    @asynccontextmanager
    async def _open_ranker(self, questions: Questions, folder: Path | None) -> AsyncIterator[Ranker]:
        options, settings = self._options, self._settings
        if folder is not None:
            from api.evaluation.process_ranker import open_process_ranker

            async with open_process_ranker(settings, folder, options.selector) as in_process:
                yield in_process
        else:
            from api.evaluation.http_ranker import open_http_ranker

            address = options.server or base_url(settings.host, settings.port)
            async with open_http_ranker(address, options.key, connections=options.concurrency) as over_http:
                await over_http.check(questions.corpus, RankingRequest([PROBE], NOTHING, 1, options.selector))
                yield over_http

    @contextmanager
    def _prepared_snapshot(self) -> Iterator[Path | None]:
        """The corpus with its vectors, as replicas would map it; no replica is told of it.  None over HTTP."""
        if not self._options.in_process:
            yield None
            return
        from api.commands.prepare import unpublished_snapshot

        self._settings = of_running_server(self._settings)
        asyncio.run(require_worker(self._settings))
        with unpublished_snapshot(self._settings) as folder:
            yield folder

    def _partial_path(self, questions: Questions, answerer: Answerer) -> tuple[Path, str]:
        """Where what is answered is kept, and what it is kept for."""
        known = answerer if answerer.namespace is None else answerer.model_copy(update={"server": None})
        identity = orjson.dumps({
            "answerer": known.model_dump(),
            "corpus": questions.corpus.digest,
            "k": self._options.k,
            "queries": questions.digest(),
            "selector": self._options.selector,
        })  # fmt: skip
        output = self._options.output
        name = f"{hashlib.sha256(identity).hexdigest()[:DIGITS]}{PARTIAL_SUFFIX}"
        path = output.with_name(output.name + PARTIAL_SUFFIX) if output else self._settings.data_dir / FOLDER / name
        return path, identity.decode()

    def _kept(self) -> str:
        if not self.partial or not self.partial.answered:
            return "Nothing was answered yet."
        return f"{len(self.partial.answered)} answers are kept in {self.partial.path}: the same command goes on there."

    def _made_run(self, questions: Questions, evaluator: Evaluator) -> EvaluationRun:
        answered = evaluator.partial.answered
        counted = [query for query in questions.placed if query.query.key in answered]
        return EvaluationRun(
            provenance=Provenance(
                program_version=version(PROGRAM),
                started_at=self._started_at,
                command=self._options.as_saved(),
                evaluation_set=questions.evaluation_set.path.name,
                evaluation_digest=questions.evaluation_set.digest,
                corpus_digest=questions.corpus.digest,
                revision=questions.corpus.revision,
                answerer=evaluator.ranker.answerer,
            ),
            k=self._options.k,
            answered=[answered[query.query.key] for query in counted],
            left_out=[_as_saved(left) for left in (*questions.left_out, *evaluator.refused)],
            inaccessible=sum(len(query.query.relevant) - len(query.relevant) for query in counted),
        )


async def require_worker(settings: Settings) -> None:
    """Raise `NotReadyError` where no Redis or no worker is there: nobody would want to wait for them unknowing."""
    from api.embedding_side import running_embedding_side

    async with running_embedding_side(settings) as side:
        if side.directory.redis_away:
            raise NotReadyError(f"No Redis answers. {HOW_TO_GET_WORKERS}")
        if not side.directory.serving():
            raise NotReadyError(f"{side.directory.why_not_serving()} {HOW_TO_GET_WORKERS}")


def _as_saved(left: LeftOut) -> QueryLeftOut:
    query = left.query
    return QueryLeftOut(
        decl_name=query.decl_name,
        module=query.module,
        line=query.line,
        number=query.number,
        why=left.why,
        refused=left.refused,
    )
