from collections.abc import Callable

import pytest

from tests.golden import RankedName, assert_same_ranking

Ranking = list[RankedName]

RECORDED: Ranking = [
    {"score": 0.9, "name": "a"},
    {"score": 0.8, "name": "b"},
    {"score": 0.799997, "name": "c"},
    {"score": 0.7, "name": "d"},
    {"score": 0.7, "name": "d"},
    {"score": 0.5, "name": "e"},
]


def swapped(ranking: Ranking, left: int, right: int) -> Ranking:
    names = [premise["name"] for premise in ranking]
    names[left], names[right] = names[right], names[left]
    return [{"score": premise["score"], "name": name} for premise, name in zip(ranking, names, strict=True)]


def replaced(ranking: Ranking, place: int, *, score: float, name: str) -> Ranking:
    return [*ranking[:place], {"score": score, "name": name}, *ranking[place + 1 :]]


def test_the_recorded_ranking_equals_itself() -> None:
    assert_same_ranking(RECORDED, RECORDED)
    assert_same_ranking([], [])


def test_scores_may_differ_by_less_than_the_tolerance() -> None:
    assert_same_ranking(RECORDED, replaced(RECORDED, 0, score=0.90009, name="a"))


def test_near_ties_may_swap() -> None:
    assert_same_ranking(RECORDED, swapped(RECORDED, 1, 2))


def test_a_near_tie_may_stand_in_for_the_last_premise_of_a_truncated_ranking() -> None:
    actual = replaced(RECORDED, 5, score=0.500004, name="f")
    assert_same_ranking(RECORDED, actual)
    with pytest.raises(AssertionError, match="was not recorded"):
        assert_same_ranking(RECORDED, actual, truncated=False)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda ranking: swapped(ranking, 0, 1), id="wrong order"),
        pytest.param(lambda ranking: swapped(ranking, 2, 3), id="wrong order beside a near-tie"),
        pytest.param(lambda ranking: replaced(ranking, 0, score=0.9002, name="a"), id="wrong score"),
        pytest.param(lambda ranking: replaced(ranking, 0, score=0.9, name="x"), id="unknown name"),
        pytest.param(lambda ranking: replaced(ranking, 5, score=0.50002, name="x"), id="unknown name at the end"),
        pytest.param(lambda ranking: replaced(ranking, 4, score=0.7, name="a"), id="a name twice"),
        pytest.param(lambda ranking: ranking[:-1], id="one premise less"),
        pytest.param(lambda ranking: [*ranking, {"score": 0.4, "name": "x"}], id="one premise more"),
        pytest.param(lambda ranking: [], id="nothing"),
    ],
)
def test_a_different_ranking_is_refused(change: Callable[[Ranking], Ranking]) -> None:
    with pytest.raises(AssertionError):
        assert_same_ranking(RECORDED, change(RECORDED))
