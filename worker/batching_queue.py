"""The batching queue: one thread owns the model and forms batches over the texts of all waiting jobs.

Jobs hand in texts and get a `Ticket`; identical texts of several jobs are embedded once.  States go first, bulk next,
corpus building last; bulk and corpus that have waited for long take every fourth batch, in turn, so that nothing
starves.
"""

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.embedding_cache import CachedVector, Vector
from shared.messages import FailedText, Priority
from worker.batch_journal import BatchJournal, NoJournal
from worker.throughput import Throughput
from worker.work_counts import WorkCounts

TokenIds = NDArray[np.int32]

AGEING_SECONDS: Mapping[Priority, float] = {Priority.BULK: 5.0, Priority.CORPUS: 60.0}
"""How long a class waits before it takes every fourth batch."""

TURN_OF_THE_AGED = 4

log = logging.getLogger(__name__)


class LaunchedBatch(Protocol):
    """A batch on its way through the model."""

    def vectors(self) -> Vector:
        """Wait for the vectors, shape (texts, dimension)."""
        ...


class BatchEncoder(Protocol):
    """The model as the queue sees it."""

    @property
    def batches_ahead(self) -> int:
        """Batches to launch before the results of an earlier one are fetched; 0 where launching computes."""
        ...

    def launch(self, batch: Sequence[TokenIds]) -> LaunchedBatch:
        """Start one batch of token ids."""
        ...

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """What a batch of `count` texts, the longest of `longest` tokens, `total` tokens in all, costs in tokens."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether a failed batch may succeed in halves."""
        ...

    def check(self) -> None:
        """Embed a text that is known to be good; raises what the model raises where it no longer works at all."""
        ...


class Ticket:
    """One job's claim on the queue: results arrive in it as batches finish."""

    def __init__(self, keys: set[str]) -> None:
        self._condition = threading.Condition()
        self._waiting = keys
        self._returned: set[str] = set()
        self._fresh: dict[str, CachedVector | FailedText] = {}

    def take_finished(self, timeout_seconds: float) -> dict[str, CachedVector | FailedText]:
        """What finished since the last call; waits for at least one result, at most `timeout_seconds`."""
        with self._condition:
            self._condition.wait_for(lambda: self._fresh or not self._waiting, timeout_seconds)
            fresh, self._fresh = self._fresh, {}
            return fresh

    @property
    def complete(self) -> bool:
        """Every result has been taken."""
        with self._condition:
            return not self._waiting and not self._fresh and not self._returned

    @property
    def closed(self) -> bool:
        """The queue closed before every result was there; what was in a batch by then has been taken."""
        with self._condition:
            return bool(self._returned) and not self._waiting and not self._fresh

    def remaining(self) -> set[str]:
        """Keys without a result yet."""
        with self._condition:
            return self._waiting | self._returned

    def deliver(self, results: Mapping[str, CachedVector | FailedText]) -> None:
        """Put results in and wake the job, once for all of them: a job that wakes writes what it has to the cache."""
        with self._condition:
            for key in self._waiting & results.keys():
                self._waiting.remove(key)
                self._fresh[key] = results[key]
            self._condition.notify_all()

    def forget(self, key: str) -> None:
        """Wait for this key no longer."""
        with self._condition:
            self._waiting.discard(key)
            self._condition.notify_all()

    def return_key(self, key: str) -> None:
        """The queue closes and will not embed this key."""
        with self._condition:
            self._waiting.remove(key)
            self._returned.add(key)
            self._condition.notify_all()


@dataclass(slots=True, eq=False)
class _Pending:
    key: str
    token_ids: TokenIds
    since: float
    alone: bool = False
    tickets: list[Ticket] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Launched:
    priority: Priority
    batch: list[_Pending]
    started: float
    running: LaunchedBatch | Exception


class BatchingQueue:
    """Texts waiting for the model.  `run` is the model thread's body; everything else may be called from any thread."""

    def __init__(
        self,
        encoder: BatchEncoder,
        throughput: Throughput,
        *,
        max_batch_tokens: int,
        journal: BatchJournal | None = None,
        ageing_seconds: Mapping[Priority, float] = AGEING_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encoder = encoder
        self._journal = journal or NoJournal()
        self._ageing_seconds = ageing_seconds
        self._throughput = throughput
        self.counts = WorkCounts()
        self._max_batch_tokens = max_batch_tokens
        self._clock = clock
        self._condition = threading.Condition()
        self._waiting: dict[Priority, OrderedDict[str, _Pending]] = {priority: OrderedDict() for priority in Priority}
        self._in_flight: dict[str, _Pending] = {}
        self._batches = 0
        self._aged_turns = 0
        self._finished_at = -math.inf
        self._closed = False

    def submit(self, texts: Mapping[str, TokenIds], priority: Priority, *, alone: Collection[str] = ()) -> Ticket:
        """Queue token ids by content hash, longest first so that neighbours in a batch are of a length.

        Texts in `alone` get a batch of their own: they are suspected of ending the worker.
        """
        ticket = Ticket(set(texts))
        with self._condition:
            if self._closed:
                for key in texts:
                    ticket.return_key(key)
                return ticket
            for key in sorted(texts, key=lambda key: -len(texts[key])):
                self._enqueue(key, texts[key], priority, ticket, alone=key in alone)
            self._condition.notify()
        return ticket

    def withdraw(self, ticket: Ticket) -> set[str]:
        """Drop the texts of `ticket` that are in no batch yet (others may still wait for them); returns their keys."""
        with self._condition:
            held = [
                (waiting, key) for waiting in self._waiting.values() for key in ticket.remaining() if key in waiting
            ]
            for waiting, key in held:
                ticket.forget(key)
                pending = waiting[key]
                pending.tickets = [other for other in pending.tickets if other is not ticket]
                if not pending.tickets:
                    del waiting[key]
            return {key for _, key in held}

    def depth(self) -> dict[Priority, int]:
        """Texts waiting, by class."""
        with self._condition:
            return {priority: len(waiting) for priority, waiting in self._waiting.items()}

    def close(self) -> None:
        """Take no more work: what is in a batch is still embedded and delivered, everything else is returned."""
        with self._condition:
            self._closed = True
            for waiting in self._waiting.values():
                for pending in waiting.values():
                    for ticket in pending.tickets:
                        ticket.return_key(pending.key)
                waiting.clear()
            self._condition.notify_all()

    def run(self) -> None:
        """Embed batch after batch until `close`; on a GPU the next one is launched before the last one is fetched."""
        launched: deque[_Launched] = deque()
        while (picked := self._next_batch(wait=not launched)) or launched:
            if picked:
                self._journal.begin([pending.key for pending in picked[1]])
                launched.append(self._launch(*picked))
            if not picked or len(launched) > self._encoder.batches_ahead:
                self._finish(launched.popleft())
            if not launched and not any(self.depth().values()):
                self._journal.rest()

    def _enqueue(self, key: str, token_ids: TokenIds, priority: Priority, ticket: Ticket, *, alone: bool) -> None:
        pending = self._in_flight.get(key) or self._waiting_at_least_as_early(key, priority)
        if pending is None:
            pending = self._take_from_later_class(key, priority) or _Pending(key, token_ids, self._clock())
            self._waiting[priority][key] = pending
        pending.alone = pending.alone or alone
        pending.tickets.append(ticket)

    def _waiting_at_least_as_early(self, key: str, priority: Priority) -> _Pending | None:
        found = (waiting[key] for other, waiting in self._waiting.items() if other <= priority and key in waiting)
        return next(found, None)

    def _take_from_later_class(self, key: str, priority: Priority) -> _Pending | None:
        found = (waiting.pop(key) for other, waiting in self._waiting.items() if other > priority and key in waiting)
        return next(found, None)

    def _next_batch(self, *, wait: bool) -> tuple[Priority, list[_Pending]] | None:
        """The next batch; None when the queue is closed, or when nothing is waiting and nothing is to be waited for."""
        with self._condition:
            if wait:
                self._condition.wait_for(lambda: self._closed or any(self._waiting.values()))
            if self._closed or not any(self._waiting.values()):
                return None
            priority = self._next_priority()
            batches = 1 + self._encoder.batches_ahead
            limit_tokens = self._throughput.batch_limit_tokens(priority, self._max_batch_tokens, batches=batches)
            batch = self._pick(priority, limit_tokens)
            now = self._clock()
            fill = self._cost_tokens(batch) / limit_tokens
            self.counts.batch_formed(priority, fill, [now - pending.since for pending in batch])
            self._in_flight.update((pending.key, pending) for pending in batch)
            self._batches += 1
            return priority, batch

    def _next_priority(self) -> Priority:
        first = next(priority for priority in Priority if self._waiting[priority])
        if self._batches % TURN_OF_THE_AGED == 0 and (aged := self._aged_behind(first)):
            self._aged_turns += 1
            return aged[self._aged_turns % len(aged)]
        return first

    def _aged_behind(self, first: Priority) -> list[Priority]:
        """The classes that have waited too long while `first` is served."""
        now = self._clock()
        return [
            priority
            for priority, seconds in self._ageing_seconds.items()
            if priority > first
            and (oldest := next(iter(self._waiting[priority].values()), None)) is not None
            and now - oldest.since > seconds
        ]

    def _pick(self, priority: Priority, limit_tokens: int) -> list[_Pending]:
        waiting = self._waiting[priority]
        batch: list[_Pending] = []
        longest = total = 0
        for pending in waiting.values():
            if batch and pending.alone:
                continue
            longest, total = max(longest, len(pending.token_ids)), total + len(pending.token_ids)
            if batch and self._encoder.cost_tokens(len(batch) + 1, longest, total) > limit_tokens:
                break
            batch.append(pending)
            if pending.alone:
                break
        for pending in batch:
            del waiting[pending.key]
        return batch

    def _launch(self, priority: Priority, batch: list[_Pending]) -> _Launched:
        started = self._clock()
        try:
            running: LaunchedBatch | Exception = self._encoder.launch([pending.token_ids for pending in batch])
        except Exception as error:  # noqa: BLE001 - whatever one text makes the model raise must not reach its neighbours
            running = error
        return _Launched(priority, batch, started, running)

    def _finish(self, launched: _Launched) -> None:
        """Deliver a result for each text; a batch that fails is halved until the texts at fault stand alone."""
        priority, batch = launched.priority, launched.batch
        if isinstance(launched.running, Exception):
            self._divide(priority, batch, launched.running)
            return
        try:
            vectors = launched.running.vectors()
        except Exception as error:  # noqa: BLE001 - as above
            self._divide(priority, batch, error)
            return
        started, self._finished_at = max(launched.started, self._finished_at), self._clock()
        seconds = self._finished_at - started
        self._throughput.record(priority, self._cost_tokens(batch), len(batch), seconds)
        self.counts.batch_done(priority, sum(len(pending.token_ids) for pending in batch), seconds)
        self._deliver([(pending, _checked(pending, vector)) for pending, vector in zip(batch, vectors, strict=True)])

    def _cost_tokens(self, batch: Sequence[_Pending]) -> int:
        lengths = [len(pending.token_ids) for pending in batch]
        return self._encoder.cost_tokens(len(batch), max(lengths), sum(lengths))

    def _divide(self, priority: Priority, batch: list[_Pending], error: Exception) -> None:
        out_of_memory = self._encoder.is_out_of_memory(error)
        if len(batch) == 1:
            log.error("the model failed on one text of %d tokens: %s", len(batch[0].token_ids), type(error).__name__)
            if not out_of_memory:
                self._encoder.check()  # a model that is lost ends the worker, so that others get its jobs
            self._deliver([(batch[0], _failure(batch[0].key, out_of_memory=out_of_memory))])
            return
        if out_of_memory:
            self._max_batch_tokens = max(1, min(self._max_batch_tokens, self._cost_tokens(batch) // 2))
        log.warning("a batch of %d texts failed (%s): halving it", len(batch), type(error).__name__)
        middle = len(batch) // 2
        self._finish(self._launch(priority, batch[:middle]))
        self._finish(self._launch(priority, batch[middle:]))

    def _deliver(self, finished: Sequence[tuple[_Pending, CachedVector | FailedText]]) -> None:
        by_ticket: dict[Ticket, dict[str, CachedVector | FailedText]] = {}
        with self._condition:
            for pending, result in finished:
                for ticket in pending.tickets:
                    by_ticket.setdefault(ticket, {})[pending.key] = result
                pending.tickets = []
                self._in_flight.pop(pending.key, None)
        for ticket, results in by_ticket.items():
            ticket.deliver(results)


def _failure(key: str, *, out_of_memory: bool) -> FailedText:
    if out_of_memory:
        return FailedText(key, "out_of_memory", "the model ran out of memory on this text alone")
    return FailedText(key, "model_error", "the model failed on this text")


def _checked(pending: _Pending, vector: Vector) -> CachedVector | FailedText:
    if not np.isfinite(vector).all():
        return FailedText(pending.key, "not_finite", "the model gave numbers that are not finite for this text")
    if not vector.any():
        return FailedText(pending.key, "all_zero", "the model gave nothing but zeros for this text")
    return CachedVector(vector, len(pending.token_ids))
