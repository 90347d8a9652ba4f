"""Texts to vectors, the API's way: look up, enqueue what nobody awaits yet, wait with a deadline."""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from api.admission import Admission, estimated_tokens
from api.awaited_job import AwaitedJob, settled
from api.cancellation import cancel_and_wait
from api.job_publisher import JobPublisher
from api.vector_cache import VectorCache
from api.worker_directory import WorkerDirectory
from shared.embedding_cache import CachedVector, EmbeddingInput, Vector, input_key
from shared.errors import DeadlineExceededError, NotReadyError, PremiseServerError, TextRejectedError
from shared.messages import EmbedJob, Heartbeat, JobDone, Priority

MOST_JOBS_OF_A_REQUEST = 8
FEWEST_TEXTS_OF_A_JOB = 64
LEAST_RENEWAL_SECONDS = 0.5
"""A lease lives some seconds longer than its job's deadline anyway."""

OVERTIME_SECONDS = 0.25
"""Who waits for vectors ends by itself at the deadline; this ends who waits for Redis."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TextGroup:
    """Texts (or token ids in their place) of one class of work."""

    texts: Sequence[EmbeddingInput]
    priority: Priority


def do_nothing() -> None:
    """For who need not know of the admission."""


@dataclass(frozen=True, slots=True)
class EmbeddingOrder:
    """Who asks and until when (epoch seconds)."""

    deadline: float
    request_id: str = ""
    cache_ttl_seconds: int = 0
    partial_at: float = math.inf
    """From then on (epoch seconds) what is there is enough, once all states are."""
    on_admitted: Callable[[], None] = do_nothing
    """Called when all texts have been looked up and the jobs for those missing, if any, are on the queue."""
    wants_tokens: bool = False
    """Whether the lengths of the texts matter: then vectors that are known from corpora, without them, do not do."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of the texts asked for, and what it took to get them."""

    vectors: list[Vector]
    """One float32 array of shape (texts, dimension) a group, in the order asked; without the texts left out."""
    left_out: list[set[int]]
    """Positions of the texts of each group that were not embedded in time; empty unless a partial result was asked."""
    cached_texts: int
    embedded_texts: int
    enqueued_jobs: int
    tokens: list[list[int]] = field(default_factory=list)
    """How long each text of each group is, before truncation, if the order wants it; without the texts left out."""


@dataclass
class EmbeddingClient:
    """One per API process.  `awaited` is what the completion listener resolves."""

    directory: WorkerDirectory
    cache: VectorCache
    admission: Admission
    publisher: JobPublisher
    reply_channel: str
    awaited: dict[str, AwaitedJob] = field(default_factory=dict)
    _job_of_key: dict[str, AwaitedJob] = field(default_factory=dict)
    _lingering: set[asyncio.Task[None]] = field(default_factory=set)

    async def embed(self, groups: Sequence[TextGroup], order: EmbeddingOrder) -> Embedded:
        """Vectors of the texts of every group, by one look-up.

        Raises `NotReadyError` (a part is away), `OverloadedError` (refused before anything was enqueued),
        `DeadlineExceededError` and `TextRejectedError` (the model cannot embed one of them).
        """
        try:
            async with asyncio.timeout(max(0.0, order.deadline - time.time()) + OVERTIME_SECONDS):
                return await self._embed(groups, order)
        except TimeoutError:
            raise DeadlineExceededError("The queue did not answer in time: try again.") from None

    async def _embed(self, groups: Sequence[TextGroup], order: EmbeddingOrder) -> Embedded:
        codec = self.directory.codec()
        keys = [[input_key(text) for text in group.texts] for group in groups]
        wanted = list(dict.fromkeys(key for group_keys in keys for key in group_keys))
        found = await self.cache.fetch(
            codec, wanted, redis_is_away=self.directory.redis_away, with_tokens=order.wants_tokens
        )
        cached = len(found)
        missing = {key for key in wanted if key not in found}
        created = 0
        if missing:
            created = await self._await_missing(missing, self._texts_by_key(groups, keys), order, found)
        else:
            order.on_admitted()
        entries = [[found[key] for key in group_keys if key in found] for group_keys in keys]
        left_out = [{place for place, key in enumerate(group_keys) if key not in found} for group_keys in keys]
        return Embedded(
            vectors=[_stack([entry.vector for entry in group], codec.dimension) for group in entries],
            left_out=left_out,
            cached_texts=cached,
            embedded_texts=len(found) - cached,
            enqueued_jobs=created,
            tokens=[[entry.tokens for entry in group] for group in entries],
        )

    @staticmethod
    def _texts_by_key(
        groups: Sequence[TextGroup], keys: Sequence[Sequence[str]]
    ) -> list[tuple[Priority, dict[str, EmbeddingInput]]]:
        return [
            (group.priority, dict(zip(group_keys, group.texts, strict=True)))
            for group, group_keys in zip(groups, keys, strict=True)
        ]

    async def _await_missing(
        self,
        missing: set[str],
        texts: Sequence[tuple[Priority, dict[str, EmbeddingInput]]],
        order: EmbeddingOrder,
        found: dict[str, CachedVector],
    ) -> int:
        self.directory.require_worker()
        created = [
            awaited
            for priority, group in texts
            for awaited in self._claim({key: text for key, text in group.items() if key in missing}, priority, order)
        ]
        places = {key: self._job_of_key[key] for key in missing}
        jobs = list(dict.fromkeys(places.values()))
        joined = [
            awaited
            for awaited in jobs
            if awaited not in created and awaited.deadline + LEAST_RENEWAL_SECONDS < order.deadline
        ]
        for awaited in jobs:
            awaited.waiters += 1
            awaited.deadline = max(awaited.deadline, order.deadline)
        needed = {key for priority, group in texts if priority is Priority.STATE for key in group}
        partial = False
        try:
            if joined:  # a job lives as long as its longest waiter
                with suppress(NotReadyError):  # then its lease ends earlier, and the sweep enqueues it again
                    joined_jobs = [awaited.job for awaited in joined]
                    await self.admission.renew(
                        joined_jobs, lease_seconds=_lease_seconds(order.deadline), only_live=True
                    )
            if created:  # shielded: others may have joined these jobs when their maker leaves
                await asyncio.shield(asyncio.ensure_future(self._enqueue(created, order)))
            order.on_admitted()
            results = await self._results(places, needed, order)
            found.update(results)
            partial = len(results) < len(places)
        finally:
            if partial:
                self._linger(jobs, places, order.deadline)
            else:
                self._leave(jobs)
        return len(created)

    def _claim(
        self, texts: Mapping[str, EmbeddingInput], priority: Priority, order: EmbeddingOrder
    ) -> list[AwaitedJob]:
        """Make jobs for texts that nobody awaits; without an await in between, so that no two requests claim one.

        A text that waits in a later class gets a job of its own; the worker embeds it once all the same.
        """
        unclaimed = [(key, text) for key, text in texts.items() if self._is_unclaimed(key, priority)]
        if not unclaimed:
            return []
        worker = self.directory.require_worker()
        created = [self._make_job(dict(part), priority, order, worker) for part in _split(unclaimed, priority)]
        for awaited in created:
            self.awaited[awaited.job.job_id] = awaited
            self._job_of_key.update(dict.fromkeys(awaited.results, awaited))
        return created

    def _is_unclaimed(self, key: str, priority: Priority) -> bool:
        """Whether no job of this class, or of one that is served before it, is to embed the text."""
        awaited = self._job_of_key.get(key)
        return awaited is None or awaited.job.priority > priority

    def _make_job(
        self, part: Mapping[str, EmbeddingInput], priority: Priority, order: EmbeddingOrder, worker: Heartbeat
    ) -> AwaitedJob:
        job_id = uuid.uuid4().hex
        texts = list(part.values())
        job = EmbedJob(
            job_id=job_id,
            namespace=worker.namespace,
            priority=priority,
            texts=texts,
            reply_channel=self.reply_channel,
            deadline=order.deadline,
            request_id=order.request_id,
            cache_ttl_seconds=order.cache_ttl_seconds,
            lease=f"{job_id}:{estimated_tokens(texts, worker.tokens_per_byte, worker.max_tokens)}",
        )
        return AwaitedJob(job, dict.fromkeys(part), time.monotonic(), order.deadline)

    async def _enqueue(self, created: Sequence[AwaitedJob], order: EmbeddingOrder) -> None:
        """Admit and publish; what goes wrong is told to all who wait for these jobs."""
        jobs = [awaited.job for awaited in created]
        try:
            for priority in sorted({job.priority for job in jobs}, reverse=True):
                await self.admission.admit(
                    [job for job in jobs if job.priority is priority],
                    lease_seconds=_lease_seconds(order.deadline),
                    tokens_per_second=self.directory.tokens_per_second(),
                )
            await self.publisher.publish([awaited.job for awaited in created if awaited.waiters])
        except PremiseServerError as error:
            self._fail(created, error)
        finally:
            self.admission.release([awaited.job for awaited in created if not awaited.waiters])

    async def _results(
        self, places: Mapping[str, AwaitedJob], needed: Collection[str], order: EmbeddingOrder
    ) -> dict[str, CachedVector]:
        """Wait for all results, from `partial_at` on for the needed ones alone, until the deadline.

        Raises a failure without waiting for the other results.
        """
        await settled(places, min(order.deadline, order.partial_at))
        if order.partial_at < order.deadline:
            await settled({key: job for key, job in places.items() if key in needed}, order.deadline)
        results: dict[str, CachedVector] = {}
        for key, job in places.items():
            result = job.results[key]
            if isinstance(result, PremiseServerError):
                raise result
            if result is not None:
                results[key] = result
        late = places.keys() - results.keys()
        if late and (time.time() < order.partial_at or not late.isdisjoint(needed)):
            raise DeadlineExceededError(_what_is_late(len(late), len(places)))
        return results

    def _linger(self, jobs: Sequence[AwaitedJob], places: Mapping[str, AwaitedJob], deadline: float) -> None:
        """Keep what was not waited for wanted, to its deadline: the next request then finds it."""

        async def linger() -> None:
            try:
                await settled(places, deadline, stop_at_failure=False)
            finally:
                self._leave(jobs)

        task = asyncio.create_task(linger(), name="linger")
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)

    async def close(self) -> None:
        """Wait for nothing any longer."""
        await cancel_and_wait(self._lingering)

    def _leave(self, jobs: Iterable[AwaitedJob]) -> None:
        """Stop waiting; jobs that nobody else awaits are forgotten and their leases released, however they ended."""
        abandoned = []
        for awaited in jobs:
            awaited.waiters -= 1
            if awaited.waiters == 0:
                self._forget(awaited)
                if not awaited.finished:
                    abandoned.append(awaited.job)
        if abandoned:
            self.admission.release(abandoned)

    def _forget(self, awaited: AwaitedJob) -> None:
        self.awaited.pop(awaited.job.job_id, None)
        for key in awaited.results:
            if self._job_of_key.get(key) is awaited:
                del self._job_of_key[key]

    def _fail(self, jobs: Iterable[AwaitedJob], error: PremiseServerError) -> None:
        for awaited in jobs:
            self._forget(awaited)
            awaited.settle(dict.fromkeys(awaited.outstanding(), error))

    async def on_done(self, done: JobDone) -> None:
        """A completion arrived: fetch the job's vectors and wake who waits for them."""
        awaited = self.awaited.get(done.job_id)
        if awaited is None:
            return
        awaited.finished = True
        awaited.settle({text.key: TextRejectedError(text.key, text.kind, text.message) for text in done.failed})
        await self.recheck(awaited)

    async def recheck(self, awaited: AwaitedJob) -> None:
        """Resolve whatever of the job is in the cache by now."""
        awaited.settle(await self.cache.fetch_again(self.directory.codec(), awaited.outstanding()))

    async def publish_again(self, awaited: AwaitedJob) -> None:
        """Enqueue what is left of a job that the broker lost, under its old id and with a lease as before."""
        left = set(awaited.outstanding())
        texts = [text for text in awaited.job.texts if input_key(text) in left]
        awaited.published_at = time.monotonic()
        awaited.finished = False
        lease_seconds = _lease_seconds(awaited.deadline)
        await self.admission.renew([awaited.job], lease_seconds=lease_seconds, only_live=False)
        await self.publisher.publish([replace(awaited.job, texts=texts, deadline=awaited.deadline)])


def _what_is_late(late: int, texts: int) -> str:
    if late == texts:
        return "The texts were not embedded in time: try again."
    return f"{late} of {texts} texts were not embedded in time; the others are cached: try again."


def _lease_seconds(deadline: float) -> float:
    return max(1.0, deadline - time.time())


def _stack(vectors: Sequence[Vector], dimension: int) -> Vector:
    return np.stack(vectors) if vectors else np.empty((0, dimension), np.float32)


def _split(
    texts: Sequence[tuple[str, EmbeddingInput]], priority: Priority
) -> list[Sequence[tuple[str, EmbeddingInput]]]:
    """At most 8 parts of at least 64 texts: enough for several workers, few enough to publish quickly.

    Corpus building comes in parts already.
    """
    parts = min(MOST_JOBS_OF_A_REQUEST, max(1, len(texts) // FEWEST_TEXTS_OF_A_JOB))
    size = len(texts) if priority is Priority.CORPUS else -(-len(texts) // parts)
    return [texts[start : start + size] for start in range(0, len(texts), size)]
