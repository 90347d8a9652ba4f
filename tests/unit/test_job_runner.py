"""One job from start to end, with the queue running and the cache and clock in memory."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from shared.embedding_cache import CachedVector, text_key
from shared.messages import EmbedJob, Priority
from tests.embedding_fakes import PATIENCE_SECONDS, FakeEncoder, FakeVectorStore, HandClock, fake_vector, wait_until
from worker.batching_queue import BatchingQueue
from worker.job_runner import SUSPECT_PAUSE_SECONDS, WEIGHT_OF_THE_NEWEST, JobContinues, JobReturned, JobRunner
from worker.throughput import Throughput

JOB = EmbedJob("job-1", "fake", Priority.BULK, ["one", "two"], "channel", deadline=2000.0)


class RunnerUnderTest:
    def __init__(self) -> None:
        self.encoder = FakeEncoder()
        self.store = FakeVectorStore()
        self.clock = HandClock()
        self.pauses: list[float] = []
        self.queue = BatchingQueue(self.encoder, Throughput(1e9), max_batch_tokens=100)
        self.runner = JobRunner(
            self.encoder,
            self.queue,
            self.store,
            cache_ttl_seconds=7,
            visibility_timeout_seconds=60,
            wall_clock=self.clock,
            pause=self.pauses.append,
        )
        self.model_thread = threading.Thread(target=self.queue.run)
        self.model_thread.start()

    def start(self, job: EmbedJob) -> tuple[threading.Thread, list[Exception]]:
        raised: list[Exception] = []

        def run() -> None:
            try:
                self.runner.run(job)
            except (JobReturned, JobContinues) as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, raised

    def embedded_texts(self) -> int:
        return sum(map(len, self.encoder.batches))


@pytest.fixture
def tested() -> Iterator[RunnerUnderTest]:
    tested = RunnerUnderTest()
    yield tested
    tested.encoder.gate.set()
    tested.queue.close()
    tested.model_thread.join(PATIENCE_SECONDS)
    assert not tested.model_thread.is_alive()


def test_vectors_are_cached_and_the_replica_is_told(tested: RunnerUnderTest) -> None:
    tested.runner.run(JOB)
    assert set(tested.store.entries) == {text_key("one"), text_key("two")}
    [(channel, done)] = tested.store.told
    assert (channel, done.job_id, done.failed) == ("channel", "job-1", [])
    assert tested.store.ttls == {7}


def test_what_is_cached_already_is_not_embedded(tested: RunnerUnderTest) -> None:
    [token_ids] = tested.encoder.tokenize(["one"])
    tested.store.entries[text_key("one")] = CachedVector(fake_vector(token_ids), 3)
    tested.runner.run(JOB)
    assert tested.embedded_texts() == 1


def test_a_redelivered_job_costs_the_model_nothing(tested: RunnerUnderTest) -> None:
    tested.runner.run(JOB)
    tested.runner.run(JOB)
    assert tested.embedded_texts() == 2
    assert len(tested.store.told) == 2


def test_a_job_may_set_the_life_of_its_vectors(tested: RunnerUnderTest) -> None:
    tested.runner.run(replace(JOB, cache_ttl_seconds=600))
    assert tested.store.ttls == {600}


def test_a_text_that_breaks_the_model_is_named_and_its_neighbours_are_cached(tested: RunnerUnderTest) -> None:
    tested.runner.run(replace(JOB, texts=["good", "poison"]))
    [(_, done)] = tested.store.told
    assert [failed.key for failed in done.failed] == [text_key("poison")]
    assert set(tested.store.entries) == {text_key("good")}


def test_a_text_that_breaks_the_tokenizer_is_named_and_its_neighbours_are_cached(tested: RunnerUnderTest) -> None:
    tested.runner.run(replace(JOB, texts=["good", "untokenizable"]))
    [(_, done)] = tested.store.told
    assert [(failed.key, failed.kind) for failed in done.failed] == [(text_key("untokenizable"), "tokenizer_error")]
    assert set(tested.store.entries) == {text_key("good")}


def test_a_job_whose_lease_is_gone_is_dropped_before_the_model(tested: RunnerUnderTest) -> None:
    tested.runner.run(replace(JOB, lease="job-1:5"))
    assert tested.embedded_texts() == 0
    assert tested.store.told == []
    assert tested.runner.dropped_jobs == 1


def test_a_job_past_its_deadline_is_dropped(tested: RunnerUnderTest) -> None:
    tested.clock.now = JOB.deadline + 1
    tested.runner.run(JOB)
    assert tested.embedded_texts() == 0
    assert tested.runner.dropped_jobs == 1


def test_a_job_given_up_while_it_waits_leaves_the_queue_but_its_batch_in_flight_is_cached(
    tested: RunnerUnderTest,
) -> None:
    tested.encoder.gate.clear()
    tested.store.leases.add("job-1:5")
    thread, _ = tested.start(replace(JOB, texts=["x" * 90, "y" * 80], lease="job-1:5"))
    assert tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    tested.store.leases.clear()
    wait_until(lambda: tested.queue.depth()[Priority.BULK] == 0)
    tested.encoder.gate.set()
    thread.join(PATIENCE_SECONDS)
    assert set(tested.store.entries) == {text_key("x" * 90)}
    assert tested.embedded_texts() == 1


def test_a_job_already_held_is_acknowledged_at_once(tested: RunnerUnderTest) -> None:
    tested.encoder.gate.clear()
    thread, _ = tested.start(JOB)
    assert tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    assert tested.runner.held_jobs() == ["job-1"]
    tested.runner.run(JOB)
    tested.encoder.gate.set()
    thread.join(PATIENCE_SECONDS)
    assert len(tested.store.told) == 1
    assert tested.runner.held_jobs() == []


def test_a_closing_worker_gives_the_job_back(tested: RunnerUnderTest) -> None:
    tested.encoder.gate.clear()
    thread, raised = tested.start(replace(JOB, texts=["x" * 90, "y" * 80]))
    assert tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    tested.queue.close()
    tested.encoder.gate.set()
    thread.join(PATIENCE_SECONDS)
    assert [type(error) for error in raised] == [JobReturned]
    assert list(tested.store.entries) == [text_key("x" * 90)]  # what was in a batch is not embedded twice


def test_a_job_held_too_long_for_the_broker_is_published_anew_without_what_is_in_a_batch(
    tested: RunnerUnderTest,
) -> None:
    tested.encoder.gate.clear()
    thread, raised = tested.start(replace(JOB, texts=["x" * 90, "y" * 80]))
    assert tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    tested.clock.now += 46
    wait_until(lambda: tested.queue.depth()[Priority.BULK] == 0)
    tested.encoder.gate.set()
    thread.join(PATIENCE_SECONDS)
    [continues] = raised
    assert isinstance(continues, JobContinues)
    assert (continues.rest.job_id, continues.rest.texts) == ("job-1", ["y" * 80])
    assert list(tested.store.entries) == [text_key("x" * 90)]


def test_a_batch_that_does_not_end_is_published_anew_before_the_broker_does(tested: RunnerUnderTest) -> None:
    tested.encoder.gate.clear()
    thread, raised = tested.start(replace(JOB, texts=["x" * 90, "y" * 80]))
    assert tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    tested.clock.now += 55
    thread.join(PATIENCE_SECONDS)
    [continues] = raised
    assert isinstance(continues, JobContinues)
    assert continues.rest.texts == ["x" * 90, "y" * 80]
    tested.encoder.gate.set()


def test_texts_that_fail_become_a_dead_letter_and_are_counted(tested: RunnerUnderTest) -> None:
    tested.runner.run(replace(JOB, texts=["good", "poison", "untokenizable"]))
    [letter] = tested.store.letters
    assert set(letter.job.texts) == {"poison", "untokenizable"}
    assert letter.kinds == ["model_error", "tokenizer_error"]
    assert tested.runner.failed_texts == 2


def test_a_text_that_ended_three_workers_is_refused_and_its_neighbours_are_cached(tested: RunnerUnderTest) -> None:
    tested.store.attempted[text_key("killer")] = 3
    tested.runner.run(replace(JOB, texts=["good", "killer"]))
    [(_, done)] = tested.store.told
    assert [(failed.key, failed.kind) for failed in done.failed] == [(text_key("killer"), "worker_lost")]
    assert set(tested.store.entries) == {text_key("good")}
    assert tested.embedded_texts() == 1


def test_a_text_that_ended_a_worker_goes_alone(tested: RunnerUnderTest) -> None:
    tested.store.attempted[text_key("suspect")] = 2
    tested.runner.run(replace(JOB, texts=["first", "suspect", "last"]))
    assert sorted(map(len, tested.encoder.batches)) == [1, 2]
    assert [len("suspect")] in tested.encoder.batches
    assert tested.store.attempted == {}


def test_a_suspect_in_another_workers_model_is_put_off_until_it_is_there_no_longer(
    tested: RunnerUnderTest,
) -> None:
    suspect = text_key("suspect")
    tested.store.attempted[suspect] = 2
    tested.store.elsewhere.add(suspect)
    job = replace(JOB, texts=["good", "suspect"])
    with pytest.raises(JobContinues) as handed_back:
        tested.runner.run(job)
    assert handed_back.value.rest == replace(job, texts=["suspect"])
    assert (set(tested.store.entries), tested.pauses) == ({text_key("good")}, [SUSPECT_PAUSE_SECONDS])
    tested.store.elsewhere.clear()
    tested.runner.run(handed_back.value.rest)
    assert set(tested.store.entries) == {text_key("good"), suspect}


def test_the_tokens_of_a_byte_are_known_before_the_first_job_and_measured_with_each(tested: RunnerUnderTest) -> None:
    assert tested.runner.tokens_per_byte == 1.0
    tested.runner.run(replace(JOB, texts=["x" * 10 * tested.encoder.max_tokens]))
    assert tested.runner.tokens_per_byte == pytest.approx(1.0 - WEIGHT_OF_THE_NEWEST * 0.9)
