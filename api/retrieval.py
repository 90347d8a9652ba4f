"""The recipe of a retrieval: who may see which premise, embed, search, score the new ones, merge."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from api.accessibility import Accessibility, Selection
from api.embedding_client import Embedded, EmbeddingClient, EmbeddingOrder, TextGroup, do_nothing
from api.premise_index import PremiseIndex
from api.ranking import RankedPremise
from api.schemas import NewPremise, RetrieveRequest
from api.selector import Question
from api.selectors import Selectors
from api.snapshot import Snapshot
from api.text_limits import require_short_texts
from shared.embedding_cache import text_key
from shared.errors import InvalidRequestError, TextRejectedError
from shared.messages import Priority
from shared.settings import Settings

STAGES = ("receive", "parse", "embed", "select", "search", "rank", "details", "encode")
"""The stages of a request, in order; a route has those that it needs."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How much of a request is looked at."""

    max_k: int
    max_new_premises: int
    max_states: int
    max_text_characters: int
    timeout_seconds: float
    partial_after_seconds: float = math.inf
    """From then on new premises that are not embedded yet are left out."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "RequestLimits":
        """The limits that the operator set."""
        return cls(
            max_k=settings.max_k,
            max_new_premises=settings.max_new_premises,
            max_states=settings.max_states,
            max_text_characters=settings.max_text_characters,
            timeout_seconds=settings.retrieve_timeout_seconds,
            partial_after_seconds=settings.partial_after_seconds if settings.partial_results else math.inf,
        )


@dataclass
class StageTimes:
    """Seconds by stage of one request, and counts for its log line."""

    started: float = field(default_factory=time.perf_counter)
    """When the request came; its deadline counts from there."""
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    selector: str | None = None
    """What ranks the answer, once that is known."""
    partial: tuple[int, int] | None = None
    """Of a partial answer: new premises that took part, and new premises asked for."""

    def arrived(self) -> float:
        """When the request came, in epoch seconds."""
        return time.time() - (time.perf_counter() - self.started)

    def count_texts(self, embedded: Embedded) -> None:
        """Note what it took to get the request's vectors."""
        self.counts.update(
            cached=embedded.cached_texts, embedded=embedded.embedded_texts, enqueued_jobs=embedded.enqueued_jobs
        )

    def note(self, stage: str, started: float) -> None:
        """Add the time since `started` (time.perf_counter) to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage, however the block ends."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.note(stage, started)


@dataclass(frozen=True)
class Retriever:
    """Answers retrievals over one corpus with one model."""

    snapshot: Snapshot
    index: PremiseIndex
    selectors: Selectors
    accessibility: Accessibility
    embeddings: EmbeddingClient
    limits: RequestLimits
    threads: ThreadPoolExecutor

    async def retrieve(
        self,
        request: RetrieveRequest,
        *,
        request_id: str,
        stages: StageTimes,
        on_admitted: Callable[[], None] = do_nothing,
    ) -> list[list[RankedPremise]]:
        """One ranking a state, best first, at most k long; `on_admitted` as in `EmbeddingOrder`.

        Raises what `EmbeddingClient.embed` raises, and `InvalidRequestError` naming a text that is too long, or that
        the model cannot embed.
        """
        states = request.states
        stages.selector = request.selector or self.selectors.default
        if request.k <= 0 or not states:
            return [[] for _ in states]
        new_premises = (request.new_premises or [])[: self.limits.max_new_premises]
        self._require_short_texts(states, new_premises)
        embedded = await self._embed(states, new_premises, request_id, stages, on_admitted)
        if left_out := embedded.left_out[1]:  # the indexed premise of such a name stands in for it
            new_premises = [premise for place, premise in enumerate(new_premises) if place not in left_out]
        # One trip to a thread for both: handing work over and back costs more than a remembered selection.
        return await asyncio.get_running_loop().run_in_executor(
            self.threads, self._select_and_rank, request, new_premises, embedded, stages
        )

    def _require_short_texts(self, states: Sequence[str], new_premises: Sequence[NewPremise]) -> None:
        longest = self.limits.max_text_characters
        require_short_texts(states, longest, "State {}".format)
        decls = (premise.decl for premise in new_premises)
        require_short_texts(decls, longest, lambda position: f"The new premise {new_premises[position].name!r}")

    def _select_and_rank(
        self, request: RetrieveRequest, new_premises: Sequence[NewPremise], embedded: Embedded, stages: StageTimes
    ) -> list[list[RankedPremise]]:
        with stages.timing("select"):
            selection = self._select(request, new_premises)
        k = min(request.k, self.limits.max_k)
        question = Question(request.states, embedded.vectors[0], selection, new_premises, embedded.vectors[1], k)
        return self.selectors.find(request.selector).rank(question, stages)

    def _select(self, request: RetrieveRequest, new_premises: Sequence[NewPremise]) -> Selection:
        return self.accessibility.select(
            imported_modules=request.imported_modules,
            local_premises=request.local_premises,
            caller_in_module_system=request.caller_in_module_system,
            imported_all_modules=request.imported_all_modules,
            shadowed_names=[premise.name for premise in new_premises],
        )

    async def _embed(
        self,
        states: Sequence[str],
        new_premises: Sequence[NewPremise],
        request_id: str,
        stages: StageTimes,
        on_admitted: Callable[[], None],
    ) -> Embedded:
        groups = [
            TextGroup(states, Priority.STATE),
            TextGroup([premise.decl for premise in new_premises], Priority.BULK),
        ]
        arrived = stages.arrived()
        order = EmbeddingOrder(
            arrived + self.limits.timeout_seconds,
            request_id,
            partial_at=arrived + self.limits.partial_after_seconds,
            on_admitted=on_admitted,
        )
        try:
            with stages.timing("embed"):
                embedded = await self.embeddings.embed(groups, order)
        except TextRejectedError as error:
            raise InvalidRequestError(_name_text(error, states, new_premises)) from error
        stages.count_texts(embedded)
        if left_out := len(embedded.left_out[1]):
            stages.partial = (len(new_premises) - left_out, len(new_premises))
            stages.counts["left_out"] = left_out
        return embedded


def _name_text(error: TextRejectedError, states: Sequence[str], new_premises: Sequence[NewPremise]) -> str:
    """Say which of the request's texts was rejected."""
    for premise in new_premises:
        if text_key(premise.decl) == error.key:
            return f"The new premise {premise.name!r} cannot be embedded: {error}."
    for number, state in enumerate(states):
        if text_key(state) == error.key:
            return f"State {number} cannot be embedded: {error}."
    return f"A text of the request cannot be embedded: {error}."
