"""One embedding job from start to end, in plain Python: knows neither Celery nor Redis' protocol."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from shared.embedding_cache import CachedVector, EmbeddingInput, input_key
from shared.messages import FOREIGN_IDS, WORKER_LOST, EmbedJob, FailedText, JobDone, Priority
from shared.redis_client import RedisError
from worker.batch_journal import MOST_ATTEMPTS
from worker.batching_queue import BatchingQueue, Ticket
from worker.tokenized_texts import TokenizedTexts, Tokenizer, tokenize_inputs
from worker.vector_store import VectorStore

WANTED_CHECK_SECONDS = 1.0
LONGEST_HAND_BACK_MARGIN_SECONDS = 15.0
TYPICAL_TEXT = (
    "theorem Finset.sum_le_sum {ι : Type u_1} {N : Type u_5} [inst : AddCommMonoid N] [inst_1 : PartialOrder N] "
    "[inst_2 : IsOrderedAddMonoid N] {f g : ι → N} {s : Finset ι} (h : ∀ i, Membership.mem s i → LE.le (f i) (g i)) : "
    "LE.le (s.sum fun i => f i) (s.sum fun i => g i)"
)
"""Tells how many tokens a byte is, roughly, before the first job has come."""

WEIGHT_OF_THE_NEWEST = 0.05
SUSPECT_PAUSE_SECONDS = 0.5
"""A text that ended a worker is put off while another worker has it in its model: both could end."""

log = logging.getLogger(__name__)


class JobReturned(Exception):  # noqa: N818 - not a failure: the job goes back to the broker
    """The worker is closing: another one is to do the job."""


class JobContinues(Exception):  # noqa: N818 - not a failure: the rest is published anew
    """The job cannot be ended now: it was held as long as the broker allows, or a text that ended a worker is in
    another one's model.  `rest` is to be published under the same id.
    """

    def __init__(self, rest: EmbedJob) -> None:
        super().__init__(f"job {rest.job_id}: {len(rest.texts)} texts left")
        self.rest = rest


@dataclass
class JobRunner:
    """Runs jobs of one namespace; `run` is called by many threads at once."""

    tokenizer: Tokenizer
    queue: BatchingQueue
    store: VectorStore
    cache_ttl_seconds: int
    visibility_timeout_seconds: float
    wall_clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    dropped_jobs: int = 0
    failed_texts: int = 0
    last_job_at: float = 0.0
    """When it was given its latest job, epoch seconds; 0 before the first."""
    tokens_per_byte: float = field(init=False)
    """Moving average over the texts seen; the API estimates the cost of a request by it."""
    _held: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        _, [tokens] = self.tokenizer.tokenize_and_count([TYPICAL_TEXT])
        self.tokens_per_byte = tokens / len(TYPICAL_TEXT.encode())

    def held_jobs(self) -> list[str]:
        """Ids of the jobs that this worker is working on."""
        with self._lock:
            return sorted(self._held)

    def run(self, job: EmbedJob) -> None:
        """Embed what the cache lacks, write it, tell the replica.

        Raises `JobReturned` when the worker closes and `JobContinues` when it has to wait for longer than it may.
        """
        if not self._claim(job):
            log.info("job %s is already held: acknowledged", job.job_id)
            return
        if job.enqueued_at:
            self.queue.counts.job_taken(job.priority, self.wall_clock() - job.enqueued_at)
        try:
            self._run_claimed(job)
        except (JobReturned, JobContinues, RedisError):
            self.queue.counts.job_returned()
            raise
        except Exception:
            log.exception("job %s cannot be done", job.job_id)
            failed = [FailedText(input_key(text), "job_error", "the worker failed on its job") for text in job.texts]
            self._finish(job, {}, self.cache_ttl_seconds, failed)
        finally:
            with self._lock:
                self._held.discard(job.job_id)

    def _claim(self, job: EmbedJob) -> bool:
        with self._lock:
            if job.job_id in self._held:
                return False
            self._held.add(job.job_id)
            self.last_job_at = self.wall_clock()
            return True

    def _run_claimed(self, job: EmbedJob) -> None:
        if not self._is_wanted(job):
            return
        texts = {input_key(text): text for text in job.texts}
        cached = self.store.fetch(list(texts))
        missing = {key: text for key, text in texts.items() if key not in cached}
        attempts = self.store.attempts(list(missing))
        lost = [_lost(key) for key, count in attempts.items() if count >= MOST_ATTEMPTS]
        put_off = self.store.in_other_models(attempts.keys() - {failure.key for failure in lost})
        for key in put_off.union(failure.key for failure in lost):
            del missing[key]
        tokenized = tokenize_inputs(missing, self.tokenizer)
        self._note_density(missing, tokenized)
        ticket = self.queue.submit(tokenized.token_ids, job.priority, alone=attempts.keys())
        log.log(
            logging.DEBUG if job.priority is Priority.CORPUS else logging.INFO,
            "job %s request %s: %d texts, %d cached, %d to embed",
            job.job_id, job.request_id or "-", len(texts), len(cached), len(tokenized.token_ids),
        )  # fmt: skip
        tokenized.failed.extend(lost)
        self._await(job, ticket, texts, tokenized, put_off)

    def _await(
        self,
        job: EmbedJob,
        ticket: Ticket,
        texts: Mapping[str, EmbeddingInput],
        tokenized: TokenizedTexts,
        put_off: set[str],
    ) -> None:
        """Write what finishes, until all has, the worker closes, or nobody waits.

        Hands back what takes too long, and what was put off.
        """
        margin = min(LONGEST_HAND_BACK_MARGIN_SECONDS, self.visibility_timeout_seconds / 4)
        hand_back_at = self.wall_clock() + self.visibility_timeout_seconds - margin
        check_at = self.monotonic() + WANTED_CHECK_SECONDS
        ttl = job.cache_ttl_seconds or self.cache_ttl_seconds
        handed_back = set(put_off)
        failed = tokenized.failed
        given_up = False
        while True:
            left_seconds = hand_back_at - self.wall_clock()
            results = ticket.take_finished(min(WANTED_CHECK_SECONDS, left_seconds if left_seconds > 0 else margin / 2))
            failed += [result for result in results.values() if isinstance(result, FailedText)]
            vectors = tokenized.with_full_lengths(results)
            if ticket.complete and not handed_back:
                self._finish(job, vectors, ttl, failed)
                return
            self.store.store(vectors, ttl)
            if ticket.closed:
                raise JobReturned(job.job_id)
            overdue_seconds = self.wall_clock() - hand_back_at
            if overdue_seconds > 0:
                handed_back |= self.queue.withdraw(ticket)  # what is in a batch is not given to another worker as well
            if (handed_back and ticket.complete) or overdue_seconds > margin / 2:
                if put_off:
                    log.info("job %s: %d texts are in another worker's model: put off", job.job_id, len(put_off))
                    self.pause(SUSPECT_PAUSE_SECONDS)  # meanwhile they end there, or that worker is known to be dead
                rest = handed_back | ticket.remaining() | {text.key for text in failed}
                raise JobContinues(replace(job, texts=[texts[key] for key in texts if key in rest]))
            if self.monotonic() >= check_at and not given_up:
                check_at = self.monotonic() + WANTED_CHECK_SECONDS
                given_up = not self._is_wanted(job)
                if given_up:
                    self.queue.withdraw(ticket)  # what is in a batch already still ends in the cache

    def _finish(self, job: EmbedJob, vectors: Mapping[str, CachedVector], ttl: int, failed: list[FailedText]) -> None:
        if unembeddable := [text for text in failed if text.kind != FOREIGN_IDS]:
            self.failed_texts += len(unembeddable)
            kinds = ", ".join(sorted({text.kind for text in unembeddable}))
            log.error("job %s: %d texts failed (%s): dead letter", job.job_id, len(unembeddable), kinds)
        self.store.finish(job, vectors, ttl, JobDone(job.job_id, failed))

    def _note_density(self, inputs: Mapping[str, EmbeddingInput], tokenized: TokenizedTexts) -> None:
        """Tokens that the model gets for a byte of text: of truncated texts those that are left."""
        sizes = {key: len(text.encode()) for key, text in inputs.items() if isinstance(text, str)}
        counted = [key for key in sizes if key in tokenized.token_ids]
        if size_bytes := sum(sizes[key] for key in counted):
            density = sum(len(tokenized.token_ids[key]) for key in counted) / size_bytes
            self.tokens_per_byte += WEIGHT_OF_THE_NEWEST * (density - self.tokens_per_byte)

    def _is_wanted(self, job: EmbedJob) -> bool:
        if self.store.is_wanted(job) if job.lease else self.wall_clock() <= job.deadline:
            return True
        self.dropped_jobs += 1
        log.info("job %s: nobody waits for it any more: dropped", job.job_id)
        return False


def _lost(key: str) -> FailedText:
    return FailedText(key, WORKER_LOST, f"{MOST_ATTEMPTS} workers ended while they embedded this text")
