"""How much work is let in, and when who was refused is told to come back."""

import math

import pytest

from api.admission import LONGEST_RETRY_AFTER_SECONDS, Limit, estimated_tokens, overloaded


def test_a_text_costs_what_the_model_reads_of_it() -> None:
    assert estimated_tokens(["a" * 100, "", "⊢"], 0.5, 512) == 50 + 1 + 2
    assert estimated_tokens(["a" * 16_000_000, "b"], 0.5, 512) == 513


@pytest.mark.parametrize(
    ("tokens_per_second", "seconds_left", "expected"),
    [
        (1_000_000.0, 120.0, 2_000_000),  # the tokens are the narrower limit
        (1000.0, 120.0, 60_000),  # the seconds are
        (1000.0, 10.0, 8_000),  # the time left is
        (0.0, 120.0, 2_000_000),  # nobody knows how fast the workers are
    ],
)
def test_a_limit_is_as_narrow_as_its_tokens_its_seconds_and_the_time_left(
    tokens_per_second: float, seconds_left: float, expected: float
) -> None:
    assert Limit(2_000_000, 64, 60.0).tokens_at(tokens_per_second, seconds_left) == pytest.approx(expected)


def test_a_limit_without_seconds_goes_by_the_deadline_alone() -> None:
    assert Limit(10**9, 8).seconds == math.inf
    assert Limit(10**9, 8).tokens_at(1000.0, 600.0) == pytest.approx(480_000)


def test_who_is_refused_is_told_when_there_will_be_room_at_the_measured_speed() -> None:
    told = {overloaded(20_000, 1000.0).retry_after_seconds for _ in range(200)}
    assert min(told) >= 20
    assert max(told) <= 30
    assert len(told) > 1


@pytest.mark.parametrize(("tokens", "speed"), [(10**9, 10.0), (5, 0.0)])
def test_nobody_is_sent_away_for_longer_than_clients_honour(tokens: float, speed: float) -> None:
    assert overloaded(tokens, speed).retry_after_seconds == LONGEST_RETRY_AFTER_SECONDS


def test_nobody_is_told_to_come_back_at_once() -> None:
    assert overloaded(1, 1e9).retry_after_seconds == 1
