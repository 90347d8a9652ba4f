"""Batches of random jobs: each text embedded once or failed for its own sake, in batches that keep the rules."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.embedding_cache import CachedVector, Vector
from shared.messages import FailedText, Priority
from tests.acceptance.fuzz_models import fuzzed
from tests.embedding_fakes import FakeEncoder, FakeLaunched, HandClock, fake_vector
from worker.batching_queue import BatchingQueue, Ticket, TokenIds
from worker.throughput import Throughput

SECONDS = 120.0
"""How long the model thread may take for a step."""
ENOUGH_TOKENS = 1_000_000

Results = dict[str, CachedVector | FailedText]


@dataclass(frozen=True)
class Limits:
    """What the encoder can do, and the size of batch that the queue is told."""

    max_batch_tokens: int
    memory_tokens: int
    pads: bool
    batches_ahead: int

    def cost_tokens(self, texts: Sequence[str]) -> int:
        lengths = [len(text) for text in texts]
        return len(texts) * max(lengths) if self.pads else sum(lengths)

    def failure_of(self, text: str) -> str | None:
        """Why a text fails even alone."""
        if len(text) > self.memory_tokens:
            return "out_of_memory"
        kinds = {"poison": "model_error", "give zeros": "all_zero", "give nan": "not_finite"}
        return next((kind for trait, kind in kinds.items() if trait in text), None)


@dataclass(frozen=True)
class Job:
    texts: frozenset[str]
    priority: Priority
    withdrawn_after: int | None = None
    """Withdrawn when so many more jobs have been queued, if so many follow."""


@dataclass(frozen=True)
class Meanwhile:
    """What happens while a batch, counted from 1, is on its way: jobs come, or the queue closes."""

    launch: int
    jobs: list[Job]
    closes: bool = False


@dataclass
class WatchedEncoder(FakeEncoder):
    """Notes what is launched and what comes back as vectors, by texts."""

    launched: list[list[str]] = field(default_factory=list)
    at_launch: Callable[[int], None] = lambda _: None
    at_vectors: Callable[[list[str]], None] = lambda _: None

    def launch(self, batch: Sequence[TokenIds]) -> "WatchedBatch":
        self.launched.append([as_text(token_ids) for token_ids in batch])
        self.at_launch(len(self.launched))
        return WatchedBatch(batch, self, super().launch(batch).poisoned, self.at_vectors)


@dataclass
class WatchedBatch(FakeLaunched):
    at_vectors: Callable[[list[str]], None]

    def vectors(self) -> Vector:
        vectors = super().vectors()
        self.at_vectors([as_text(token_ids) for token_ids in self.batch])
        return vectors


def as_text(token_ids: TokenIds) -> str:
    return token_ids.astype(np.uint8).tobytes().decode()


class QueueUnderFire:
    """A queue, the jobs that it was given and what came of them."""

    def __init__(self, limits: Limits, jobs: Sequence[Job], meanwhile: Sequence[Meanwhile] = ()) -> None:
        self.encoder = WatchedEncoder(
            memory_tokens=limits.memory_tokens, pads=limits.pads, batches_ahead=limits.batches_ahead
        )
        self.encoder.at_launch, self.encoder.at_vectors = self._go_on, self._note
        self.queue = BatchingQueue(
            encoder=self.encoder,
            throughput=Throughput(tokens_per_second=1e9, clock=HandClock()),
            max_batch_tokens=limits.max_batch_tokens,
            clock=HandClock(),
        )
        self.meanwhile = meanwhile
        self.submitted: list[tuple[Job, Ticket]] = []
        self.results: list[Results] = []
        self.asked_and_embedded: list[tuple[bool, list[str]]] = []
        for job in jobs:
            self._submit(job)

    def run(self) -> None:
        """Start the model, wait until every ticket has all that it gets, and end it."""
        thread = threading.Thread(target=self.queue.run)
        thread.start()
        try:
            while len(self.results) < len(self.submitted):
                _, ticket = self.submitted[len(self.results)]
                self.results.append(results_of(ticket))
        finally:
            self.queue.close()
            thread.join(SECONDS)
        assert not thread.is_alive()

    @property
    def embedded(self) -> list[str]:
        return [text for asked, texts in self.asked_and_embedded if not asked for text in texts]

    def _submit(self, job: Job) -> None:
        self.asked_and_embedded.append((True, sorted(job.texts)))
        token_ids = self.encoder.tokenize(sorted(job.texts))
        ticket = self.queue.submit(texts=dict(zip(sorted(job.texts), token_ids, strict=True)), priority=job.priority)
        self.submitted.append((job, ticket))
        for number, (earlier, its_ticket) in enumerate(self.submitted, start=1):
            if earlier.withdrawn_after == len(self.submitted) - number:
                self.queue.withdraw(ticket=its_ticket)

    def _go_on(self, launch: int) -> None:
        for event in self.meanwhile:
            if event.launch == launch:
                for job in event.jobs:
                    self._submit(job)
                if event.closes:
                    self.queue.close()

    def _note(self, texts: list[str]) -> None:
        self.asked_and_embedded.append((False, texts))


def results_of(ticket: Ticket) -> Results:
    results: Results = {}
    while not (ticket.complete or ticket.closed):
        fresh = ticket.take_finished(timeout_seconds=SECONDS)
        assert fresh or ticket.complete or ticket.closed
        results |= fresh
    return results


def classes_of_waiting(jobs: Sequence[Job]) -> dict[str, Priority]:
    """Texts that somebody waits for, each in the earliest class that it was asked for in since it began to wait."""
    classes: dict[str, Priority] = {}
    waiters: dict[str, set[int]] = {}
    for number, job in enumerate(jobs):
        for text in job.texts:
            classes[text] = min(classes.get(text, job.priority), job.priority)
            waiters.setdefault(text, set()).add(number)
        for earlier, other in enumerate(jobs[: number + 1]):
            if other.withdrawn_after == number - earlier:
                for text in other.texts:
                    waiters[text].remove(earlier)
                    if not waiters[text]:
                        del classes[text]
    return classes


def stays(jobs: Sequence[Job], number: int) -> bool:
    after = jobs[number].withdrawn_after
    return after is None or number + after >= len(jobs)


def check_result(text: str, result: CachedVector | FailedText, limits: Limits) -> None:
    failure = limits.failure_of(text)
    if failure is not None:
        assert isinstance(result, FailedText)
        assert (result.key, result.kind) == (text, failure)
        return
    assert isinstance(result, CachedVector)
    assert result.tokens == len(text)
    np.testing.assert_array_equal(result.vector, fake_vector(FakeEncoder().tokenize([text])[0]))


def embedded_unasked(asked_and_embedded: Sequence[tuple[bool, list[str]]]) -> list[str]:
    """Texts that were embedded though nobody had asked for them since the last time."""
    wanted: set[str] = set()
    unasked: list[str] = []
    for asked, texts in asked_and_embedded:
        if asked:
            wanted.update(texts)
        else:
            unasked += [text for text in texts if text not in wanted]
            wanted.difference_update(texts)
    return unasked


sound_texts = st.builds("{}{}".format, st.integers(0, 99), st.integers(0, 60).map("x".__mul__)) | st.just("")
bad_texts = st.builds("{}{}".format, sound_texts, st.sampled_from([" poison", " give zeros", " give nan"]))
all_limits = st.builds(
    Limits,
    max_batch_tokens=st.integers(1, 250),
    memory_tokens=st.just(ENOUGH_TOKENS) | st.integers(20, 200),
    pads=st.booleans(),
    batches_ahead=st.integers(0, 2),
)


@st.composite
def job_lists(draw: st.DrawFn, texts: st.SearchStrategy[str] = sound_texts | sound_texts | bad_texts) -> list[Job]:
    pool = draw(st.lists(texts, min_size=1, max_size=24, unique=True))
    some_texts = st.frozensets(st.sampled_from(pool), max_size=len(pool))
    job = st.builds(Job, some_texts, st.sampled_from(Priority), st.none() | st.none() | st.integers(0, 4))
    return draw(st.lists(job, min_size=1, max_size=8))


events = st.builds(Meanwhile, st.integers(1, 8), job_lists(), closes=st.sampled_from([True, False, False, False]))


@fuzzed(300)
@given(all_limits, job_lists())
def test_each_waiting_text_is_embedded_once_or_fails_for_its_own_sake(limits: Limits, jobs: list[Job]) -> None:
    tested = QueueUnderFire(limits, jobs)
    tested.run()
    for number, (job, ticket) in enumerate(tested.submitted):
        assert ticket.complete
        assert tested.results[number].keys() == (job.texts if stays(jobs, number) else set())
        for text, result in tested.results[number].items():
            check_result(text, result, limits)
    without_vector = {"out_of_memory", "model_error"}
    with_vector = [text for text in classes_of_waiting(jobs) if limits.failure_of(text) not in without_vector]
    assert Counter(tested.embedded) == Counter(with_vector)


@fuzzed(300)
@given(all_limits, job_lists())
def test_a_batch_is_of_one_class_and_within_its_limit_unless_it_is_one_text(limits: Limits, jobs: list[Job]) -> None:
    tested = QueueUnderFire(limits, jobs)
    tested.run()
    classes = classes_of_waiting(jobs)
    for batch in tested.encoder.launched:
        assert len({classes[text] for text in batch}) == 1
        assert len(batch) == 1 or limits.cost_tokens(batch) <= limits.max_batch_tokens


@fuzzed(300)
@given(all_limits, job_lists(sound_texts))
def test_classes_come_in_order_and_a_batch_ends_only_where_the_next_text_would_not_fit(
    limits: Limits, jobs: list[Job]
) -> None:
    limits = replace(limits, memory_tokens=ENOUGH_TOKENS)
    tested = QueueUnderFire(limits, jobs)
    tested.run()
    classes = classes_of_waiting(jobs)
    for batch, following in pairwise(tested.encoder.launched):
        assert classes[batch[0]] <= classes[following[0]]
        would_fit = limits.cost_tokens([*batch, following[0]]) <= limits.max_batch_tokens
        assert not would_fit or classes[batch[0]] < classes[following[0]]


@fuzzed(250)
@given(all_limits, job_lists(), st.lists(events, max_size=4))
def test_jobs_that_come_or_are_cut_off_while_batches_run_get_what_is_theirs(
    limits: Limits, jobs: list[Job], meanwhile: list[Meanwhile]
) -> None:
    tested = QueueUnderFire(limits, jobs, meanwhile)
    tested.run()
    for (job, ticket), results in zip(tested.submitted, tested.results, strict=True):
        left = ticket.remaining()
        assert results.keys().isdisjoint(left)
        assert results.keys() | left == job.texts or (job.withdrawn_after is not None and results.keys() < job.texts)
        assert (ticket.complete, ticket.closed) == (not left, bool(left))
        assert not left or any(event.closes for event in meanwhile)
        for text, result in results.items():
            check_result(text, result, limits)


@fuzzed(250)
@given(all_limits, job_lists(), st.lists(events, max_size=4))
def test_no_text_is_embedded_again_unless_it_was_asked_for_again(
    limits: Limits, jobs: list[Job], meanwhile: list[Meanwhile]
) -> None:
    tested = QueueUnderFire(limits, jobs, meanwhile)
    tested.run()
    assert not embedded_unasked(tested.asked_and_embedded)
