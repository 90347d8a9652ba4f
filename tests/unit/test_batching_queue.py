"""The batching queue: priorities, merging, isolation of poison, ageing, closing."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from shared.embedding_cache import CachedVector
from shared.messages import FailedText, Priority
from tests.embedding_fakes import PATIENCE_SECONDS, FakeEncoder, HandClock, fake_vector, wait_until
from worker.batching_queue import BatchingQueue, Ticket, TokenIds
from worker.throughput import Throughput


def ids(text: str) -> TokenIds:
    [token_ids] = FakeEncoder().tokenize([text])
    return token_ids


class ListedBatches:
    """A journal in memory."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.rests: list[int] = []
        """How many batches had begun whenever the model came to rest."""

    def begin(self, keys: Sequence[str]) -> None:
        self.batches.append(list(keys))

    def rest(self) -> None:
        self.rests.append(len(self.batches))


class QueueUnderTest:
    def __init__(self, max_batch_tokens: int = 100) -> None:
        self.encoder = FakeEncoder()
        self.clock = HandClock()
        self.journal = ListedBatches()
        self.queue = BatchingQueue(
            self.encoder,
            Throughput(tokens_per_second=1e9),
            max_batch_tokens=max_batch_tokens,
            journal=self.journal,
            clock=self.clock,
        )
        self.thread = threading.Thread(target=self.queue.run)

    def submit(self, *texts: str, priority: Priority = Priority.BULK) -> Ticket:
        return self.queue.submit({text: ids(text) for text in texts}, priority)

    def batch_sizes(self) -> list[int]:
        return [len(batch) for batch in self.encoder.batches]


def results_of(ticket: Ticket) -> dict[str, CachedVector | FailedText]:
    results: dict[str, CachedVector | FailedText] = {}
    while not ticket.complete:
        results |= ticket.take_finished(10)
    return results


@pytest.fixture
def tested() -> Iterator[QueueUnderTest]:
    tested = QueueUnderTest()
    yield tested
    tested.encoder.gate.set()
    tested.queue.close()
    if tested.thread.ident is not None:
        tested.thread.join(PATIENCE_SECONDS)
        assert not tested.thread.is_alive()


def test_every_text_gets_its_own_vector(tested: QueueUnderTest) -> None:
    ticket = tested.submit("a", "bb", "ccc")
    tested.thread.start()
    results = results_of(ticket)
    assert set(results) == {"a", "bb", "ccc"}
    for text, result in results.items():
        assert isinstance(result, CachedVector)
        np.testing.assert_array_equal(result.vector, fake_vector(ids(text)))
        assert result.tokens == len(text)


def test_a_batch_costs_no_more_than_its_limit_padding_included(tested: QueueUnderTest) -> None:
    ticket = tested.submit(*(f"{number:040d}" for number in range(5)))
    tested.thread.start()
    results_of(ticket)
    assert all(max(batch) * len(batch) <= 100 for batch in tested.encoder.batches)
    assert tested.batch_sizes() == [2, 2, 1]


def test_a_batch_of_an_encoder_that_does_not_pad_costs_its_tokens(tested: QueueUnderTest) -> None:
    tested.encoder.pads = False
    ticket = tested.submit("x" * 60, *(f"{number:010d}" for number in range(5)))
    tested.thread.start()
    results_of(ticket)
    assert tested.encoder.batches == [[60, 10, 10, 10, 10], [10]]


def test_where_batches_run_ahead_the_next_is_launched_before_the_last_is_fetched(tested: QueueUnderTest) -> None:
    tested.encoder.batches_ahead = 1
    ticket = tested.submit(*(f"{number:090d}" for number in range(4)))
    tested.thread.start()
    assert len(results_of(ticket)) == 4
    assert tested.encoder.fetched == [2, 3, 4, 4]


def test_poison_that_shows_when_a_batch_is_fetched_fails_alone(tested: QueueUnderTest) -> None:
    tested.encoder.batches_ahead = 1
    ticket = tested.submit("poison", *(f"{number:020d}" for number in range(6)))
    tested.thread.start()
    results = results_of(ticket)
    assert {key for key, result in results.items() if isinstance(result, FailedText)} == {"poison"}
    assert len(results) == 7


def test_a_batch_that_runs_ahead_is_delivered_when_the_queue_closes(tested: QueueUnderTest) -> None:
    tested.encoder.batches_ahead = 1
    tested.encoder.gate.clear()
    ticket = tested.submit("a")
    tested.thread.start()
    tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    tested.queue.close()
    tested.encoder.gate.set()
    assert set(results_of(ticket)) == {"a"}


def test_a_text_longer_than_the_limit_goes_alone(tested: QueueUnderTest) -> None:
    ticket = tested.submit("x" * 300, "y")
    tested.thread.start()
    assert len(results_of(ticket)) == 2
    assert tested.encoder.batches[0] == [300]


def test_states_go_before_bulk_that_came_first(tested: QueueUnderTest) -> None:
    bulk = tested.submit("b" * 60)
    state = tested.submit("s" * 50, priority=Priority.STATE)
    tested.thread.start()
    results_of(bulk)
    results_of(state)
    assert tested.encoder.batches == [[50], [60]]


def test_a_batch_of_states_is_not_filled_up_with_bulk(tested: QueueUnderTest) -> None:
    bulk = tested.submit("b")
    state = tested.submit("s", priority=Priority.STATE)
    tested.thread.start()
    results_of(bulk)
    results_of(state)
    assert tested.batch_sizes() == [1, 1]


def test_texts_of_two_jobs_are_embedded_once(tested: QueueUnderTest) -> None:
    first, second = tested.submit("same"), tested.submit("same", "other")
    tested.thread.start()
    assert set(results_of(first)) == {"same"}
    assert set(results_of(second)) == {"same", "other"}
    assert sum(tested.batch_sizes()) == 2


def test_a_text_in_flight_is_not_embedded_again(tested: QueueUnderTest) -> None:
    tested.encoder.gate.clear()
    first = tested.submit("same")
    tested.thread.start()
    tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    second = tested.submit("same")
    tested.encoder.gate.set()
    assert set(results_of(first)) == set(results_of(second)) == {"same"}
    assert tested.batch_sizes() == [1]


def test_a_state_that_waits_as_bulk_is_taken_as_a_state(tested: QueueUnderTest) -> None:
    tested.submit("b" * 70)
    bulk = tested.submit("b" * 71, "shared text")
    state = tested.submit("shared text", priority=Priority.STATE)
    tested.thread.start()
    results_of(state)
    results_of(bulk)
    assert tested.encoder.batches[0] == [len("shared text")]


def test_old_bulk_gets_a_turn_among_endless_states(tested: QueueUnderTest) -> None:
    bulk = tested.submit("b" * 60)
    tested.clock.now += 6
    states = [tested.submit(f"{number:060d}", priority=Priority.STATE) for number in range(8)]
    tested.thread.start()
    for ticket in [bulk, *states]:
        results_of(ticket)
    assert tested.queue.depth() == dict.fromkeys(Priority, 0)
    assert tested.encoder.batches[0] == [60]
    assert tested.batch_sizes() == [1] * 9


def test_endless_bulk_does_not_starve_the_corpus(tested: QueueUnderTest) -> None:
    corpus = tested.submit("c" * 60, priority=Priority.CORPUS)
    tested.clock.now += 61
    bulk = [tested.submit(f"{number:060d}") for number in range(8)]
    tested.clock.now += 6  # by now bulk is old as well
    tested.thread.start()
    for ticket in [corpus, *bulk]:
        results_of(ticket)
    assert "c" * 60 in [key for batch in tested.journal.batches[:4] for key in batch]


def test_old_bulk_and_old_corpus_take_turns_among_endless_states(tested: QueueUnderTest) -> None:
    aged = [tested.submit(f"{number:060d}", priority=Priority.CORPUS) for number in range(100, 102)]
    aged += [tested.submit(f"{number:060d}") for number in range(200, 202)]
    tested.clock.now += 61
    states = [tested.submit(f"{number:060d}", priority=Priority.STATE) for number in range(300, 320)]
    tested.thread.start()
    for ticket in [*aged, *states]:
        results_of(ticket)
    order = [int(batch[0]) // 100 for batch in tested.journal.batches]
    assert sorted(order[:16:4]) == [1, 1, 2, 2]
    assert set(order[:5]) == {1, 2, 3}


def test_a_text_to_go_alone_is_in_no_batch_with_others(tested: QueueUnderTest) -> None:
    texts = [f"{number:010d}" for number in range(6)]
    ticket = tested.queue.submit({text: ids(text) for text in texts}, Priority.BULK, alone={texts[0], texts[3]})
    tested.thread.start()
    assert len(results_of(ticket)) == 6
    assert [texts[0]] in tested.journal.batches
    assert [texts[3]] in tested.journal.batches
    assert [texts[1], texts[2], texts[4], texts[5]] in tested.journal.batches


def test_the_journal_is_told_when_nothing_is_in_the_model_or_waits_for_it(tested: QueueUnderTest) -> None:
    ticket = tested.submit(*(f"{number:060d}" for number in range(3)))
    tested.thread.start()
    results_of(ticket)
    wait_until(lambda: tested.journal.rests == [3])


def test_a_batch_is_noted_before_it_starts_and_once_however_often_it_is_halved(tested: QueueUnderTest) -> None:
    ticket = tested.submit("a poison", "good one", "good two")
    tested.thread.start()
    results_of(ticket)
    assert [sorted(batch) for batch in tested.journal.batches] == [["a poison", "good one", "good two"]]


@pytest.mark.parametrize(("text", "kind"), [("give zeros", "all_zero"), ("give nan", "not_finite")])
def test_a_vector_that_is_none_fails_alone(tested: QueueUnderTest, text: str, kind: str) -> None:
    ticket = tested.submit("good one", text, "good two")
    tested.thread.start()
    results = results_of(ticket)
    failed = results.pop(text)
    assert isinstance(failed, FailedText)
    assert failed.kind == kind
    assert all(isinstance(result, CachedVector) for result in results.values())


def test_a_poisoned_text_fails_alone(tested: QueueUnderTest) -> None:
    ticket = tested.submit("good one", "a poison", "good two", "good three")
    tested.thread.start()
    results = results_of(ticket)
    failed = results.pop("a poison")
    assert isinstance(failed, FailedText)
    assert failed.kind == "model_error"
    assert all(isinstance(result, CachedVector) for result in results.values())


def test_out_of_memory_halves_the_batch_and_keeps_later_ones_small(tested: QueueUnderTest) -> None:
    tested.encoder.memory_tokens = 30
    ticket = tested.submit(*(f"{number:010d}" for number in range(20)))
    tested.thread.start()
    results = results_of(ticket)
    assert len(results) == 20
    assert all(isinstance(result, CachedVector) for result in results.values())
    assert tested.batch_sizes()[-1] <= 3
    assert sum(size > 3 for size in tested.batch_sizes()) <= 3


def test_out_of_memory_on_a_text_alone_fails_that_text(tested: QueueUnderTest) -> None:
    tested.encoder.memory_tokens = 30
    ticket = tested.submit("x" * 40, "y" * 10)
    tested.thread.start()
    results = results_of(ticket)
    failed = results["x" * 40]
    assert isinstance(failed, FailedText)
    assert failed.kind == "out_of_memory"
    assert isinstance(results["y" * 10], CachedVector)


def test_withdrawn_texts_are_not_embedded_unless_others_wait(tested: QueueUnderTest) -> None:
    mine, others = tested.submit("mine", "ours"), tested.submit("ours")
    assert tested.queue.withdraw(mine) == {"mine", "ours"}
    tested.thread.start()
    assert set(results_of(others)) == {"ours"}
    assert mine.complete
    assert sum(tested.batch_sizes()) == 1


def test_closing_ends_the_batch_in_flight_and_wakes_everybody(tested: QueueUnderTest) -> None:
    tested.encoder.gate.clear()
    in_flight = tested.submit("in flight")
    tested.thread.start()
    tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    waiting = tested.submit("waiting")
    tested.queue.close()
    assert waiting.take_finished(10) == {}
    assert waiting.closed
    tested.encoder.gate.set()
    wait_until(lambda: not tested.thread.is_alive())
    assert set(in_flight.take_finished(10)) == {"in flight"}
    assert not in_flight.closed


def test_a_job_that_is_partly_in_a_batch_keeps_that_part_when_the_queue_closes(tested: QueueUnderTest) -> None:
    tested.encoder.gate.clear()
    ticket = tested.submit("x" * 90, "y" * 80)
    tested.thread.start()
    tested.encoder.entered.acquire(timeout=PATIENCE_SECONDS)
    tested.queue.close()
    assert not ticket.closed
    tested.encoder.gate.set()
    assert set(ticket.take_finished(10)) == {"x" * 90}
    assert ticket.closed
    assert not ticket.complete
    assert ticket.remaining() == {"y" * 80}


def test_a_lost_model_ends_the_thread_instead_of_failing_every_text() -> None:
    tested = QueueUnderTest()
    ticket = tested.submit("one", "two")
    tested.encoder.lost = True
    with pytest.raises(RuntimeError, match="the device is lost"):
        tested.queue.run()
    assert ticket.take_finished(0) == {}
    assert ticket.remaining() == {"one", "two"}


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_batches_that_run_out_of_memory_at_launch_are_halved_however_many_are_ahead(ahead: int) -> None:
    tested = QueueUnderTest()
    tested.encoder.batches_ahead, tested.encoder.memory_tokens = ahead, 40
    ticket = tested.submit(*(f"{number:020d}" for number in range(9)))
    tested.thread.start()
    results = results_of(ticket)
    tested.queue.close()
    tested.thread.join(PATIENCE_SECONDS)
    assert len(results) == 9
    assert all(isinstance(result, CachedVector) for result in results.values())


def test_a_closed_queue_takes_nothing_more(tested: QueueUnderTest) -> None:
    tested.queue.close()
    assert tested.submit("late").closed
