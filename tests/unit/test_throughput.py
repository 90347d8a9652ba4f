"""How large a batch may be, from what the model was seen to do."""

from shared.messages import Priority
from tests.embedding_fakes import HandClock
from worker.throughput import Throughput


def test_states_may_fill_a_batch() -> None:
    assert Throughput(1e6).batch_limit_tokens(Priority.STATE, 2048) == 2048


def test_a_bulk_batch_lasts_at_most_fifty_milliseconds_where_states_come_and_twice_that_elsewhere() -> None:
    clock = HandClock()
    throughput = Throughput(10_000, clock)
    assert throughput.batch_limit_tokens(Priority.BULK, 2048) == 1000
    throughput.record(Priority.STATE, tokens=0, texts=1, seconds=0.005)
    assert throughput.batch_limit_tokens(Priority.BULK, 2048) == 500
    clock.now += 2
    assert throughput.batch_limit_tokens(Priority.BULK, 2048) == 1000


def test_batches_in_flight_at_once_share_the_time_that_a_state_may_wait() -> None:
    assert Throughput(10_000, HandClock()).batch_limit_tokens(Priority.BULK, 2048, batches=2) == 500


def test_a_single_goal_says_little_about_the_speed() -> None:
    throughput = Throughput(10_000)
    for _ in range(20):
        throughput.record(Priority.STATE, tokens=20, texts=1, seconds=0.01)
    assert throughput.tokens_per_second > 9000


def test_a_slow_model_still_gets_a_batch_worth_its_call() -> None:
    assert Throughput(100).batch_limit_tokens(Priority.BULK, 2048) == 256


def test_a_smaller_limit_of_the_operator_holds() -> None:
    assert Throughput(1e9).batch_limit_tokens(Priority.BULK, 64) == 64


def test_corpus_batches_are_long_only_while_no_states_come() -> None:
    clock = HandClock()
    throughput = Throughput(20_000, clock)
    assert throughput.batch_limit_tokens(Priority.CORPUS, 2048) == 2048
    throughput.record(Priority.STATE, tokens=100, texts=1, seconds=0.005)
    assert throughput.batch_limit_tokens(Priority.CORPUS, 2048) < 2048
    clock.now += 31
    assert throughput.batch_limit_tokens(Priority.CORPUS, 2048) == 2048


def test_the_speed_follows_what_is_measured() -> None:
    throughput = Throughput(1000)
    for _ in range(100):
        throughput.record(Priority.BULK, tokens=1000, texts=5, seconds=0.2)
    assert 4900 < throughput.tokens_per_second < 5000
    assert throughput.texts_embedded == 500
