"""Metrics against examples by hand and against scikit-learn; intervals against SciPy and against what they promise."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score, ndcg_score

from api.evaluation.bootstrap import estimate
from api.evaluation.metrics import METRICS, Judged, judge, metric_values

LOG2 = np.log2


def values_of(judged: Judged, *cutoffs: int) -> dict[str, list[float]]:
    values = metric_values([judged], cutoffs)[0]
    return {metric: values[place].tolist() for place, metric in enumerate(METRICS)}


def test_metrics_of_a_ranking_are_those_computed_by_hand() -> None:
    judged = judge(["a", "x", "b", "y"], frozenset({"a", "b", "c"}))
    values = values_of(judged, 1, 2, 4)
    ideal = [1.0, 1 + 1 / LOG2(3), 1 + 1 / LOG2(3) + 1 / LOG2(4)]
    assert values["recall"] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert values["full_recall"] == [0.0, 0.0, 0.0]
    assert values["precision"] == pytest.approx([1.0, 1 / 2, 2 / 4])
    assert values["mrr"] == [1.0, 1.0, 1.0]
    assert values["ndcg"] == pytest.approx([1 / ideal[0], 1 / ideal[1], (1 + 1 / LOG2(4)) / ideal[2]])
    assert values["map"] == pytest.approx([1.0, 1 / 2, (1 + 2 / 3) / 3])


def test_full_recall_is_one_from_the_place_of_the_last_relevant_premise_on() -> None:
    judged = judge(["x", "a", "y", "b"], frozenset({"a", "b"}))
    assert values_of(judged, 1, 2, 3, 4)["full_recall"] == [0.0, 0.0, 0.0, 1.0]


def test_the_reciprocal_rank_is_that_of_the_first_relevant_premise_within_the_cutoff() -> None:
    judged = judge(["x", "y", "a", "b"], frozenset({"a", "b"}))
    assert values_of(judged, 2, 3, 4)["mrr"] == pytest.approx([0.0, 1 / 3, 1 / 3])


def test_a_list_that_is_shorter_than_the_cutoff_is_divided_by_the_cutoff_in_precision_alone() -> None:
    values = values_of(judge(["a"], frozenset({"a"})), 256)
    assert values == {
        "recall": [1.0],
        "full_recall": [1.0],
        "precision": [1 / 256],
        "mrr": [1.0],
        "ndcg": [1.0],
        "map": [1.0],
    }


def test_average_precision_is_divided_by_what_could_stand_above_the_cutoff() -> None:
    judged = judge(["a", "b"], frozenset({"a", "b", "c", "d"}))
    assert values_of(judged, 2)["map"] == [1.0]


def test_nothing_found_is_zero_everywhere() -> None:
    assert all(values == [0.0, 0.0] for values in values_of(Judged(2, []), 1, 8).values())


def test_a_name_that_a_ranking_repeats_counts_once() -> None:
    assert judge(["a", "a", "b"], frozenset({"a", "b"})) == Judged(2, [1, 3])


def random_rankings(seed: int) -> list[tuple[list[str], frozenset[str]]]:
    generator = np.random.default_rng(seed)
    names = [f"p{number}" for number in range(40)]
    rankings = []
    for _ in range(30):
        relevant = frozenset(generator.choice(names, size=int(generator.integers(1, 12)), replace=False).tolist())
        rankings.append(([names[place] for place in generator.permutation(len(names))], relevant))
    return rankings


def relevance(ranking: Sequence[str], relevant: frozenset[str]) -> NDArray[np.float64]:
    return np.array([name in relevant for name in ranking], np.float64)


@pytest.mark.parametrize("cutoff", [1, 5, 40])
def test_ndcg_is_that_of_scikit_learn(cutoff: int) -> None:
    rankings = random_rankings(1)
    values = metric_values([judge(*ranking) for ranking in rankings], [cutoff])[:, METRICS.index("ndcg"), 0]
    falling = -np.arange(40, dtype=np.float64)[None]
    expected = [ndcg_score(relevance(*ranking)[None], falling, k=cutoff) for ranking in rankings]
    assert values == pytest.approx(expected)


def test_map_over_the_whole_list_is_the_average_precision_of_scikit_learn() -> None:
    rankings = random_rankings(2)
    values = metric_values([judge(*ranking) for ranking in rankings], [40])[:, METRICS.index("map"), 0]
    falling = -np.arange(40, dtype=np.float64)
    expected = [average_precision_score(relevance(*ranking), falling) for ranking in rankings]
    assert values == pytest.approx(expected)


def test_cutoffs_need_no_order_and_no_query_depends_on_another() -> None:
    judged = [judge(*ranking) for ranking in random_rankings(3)]
    together = metric_values(judged, [16, 1, 8])
    alone = np.concatenate([metric_values([query], [1, 8, 16]) for query in judged])
    assert np.array_equal(together, alone[:, :, [2, 0, 1]])


def test_the_interval_is_the_percentile_interval_of_scipy() -> None:
    values = np.random.default_rng(5).beta(0.5, 0.5, size=400)
    ours = estimate(values[:, None], resamples=4000)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=4000, confidence_level=0.95, method="percentile", rng=np.random.default_rng(6)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low[0] == pytest.approx(theirs.low, abs=width / 20)
    assert ours.high[0] == pytest.approx(theirs.high, abs=width / 20)


def test_the_same_values_have_the_same_interval_and_it_holds_the_mean() -> None:
    values = np.random.default_rng(7).random((50, 2, 3))
    first, second = estimate(values), estimate(values)
    assert np.array_equal(first.low, second.low)
    assert np.array_equal(first.high, second.high)
    assert np.all((first.low < first.mean) & (first.mean < first.high))
    assert first.mean.shape == first.low.shape == (2, 3)


def test_a_constant_has_no_width_and_more_queries_make_an_interval_narrower() -> None:
    constant = estimate(np.full((9, 1), 0.25))
    assert constant.low == constant.high == constant.mean == 0.25
    values = np.random.default_rng(8).random(1600)
    few, many = estimate(values[:100, None]), estimate(values[:, None])
    assert (many.high - many.low) * 3 < few.high - few.low


def test_a_wider_level_has_a_wider_interval() -> None:
    values = np.random.default_rng(9).random((100, 1))
    narrow, wide = estimate(values, level=0.5), estimate(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_about_as_many_intervals_as_they_promise_hold_the_true_mean() -> None:
    generator = np.random.default_rng(10)
    held = 0
    for _ in range(200):
        interval = estimate(generator.random((60, 1)), resamples=400)
        held += int(interval.low[0] <= 0.5 <= interval.high[0])
    assert 178 <= held <= 199
