import numpy as np
import orjson

from api.ranking import RankedPremise, merge


def ranking(indexed: dict[str, float], new: list[tuple[str, float]], k: int) -> list[str]:
    merged = merge(
        np.array(list(indexed.values()), dtype=np.float32),
        list(indexed),
        np.array([score for _, score in new], dtype=np.float32),
        [name for name, _ in new],
        k,
    )
    return [premise.name for premise in merged]


def test_indexed_and_new_premises_are_ranked_together_by_score() -> None:
    assert ranking({"a": 0.9, "b": 0.5}, [("x", 0.7), ("y", 0.95)], 10) == ["y", "a", "x", "b"]


def test_on_equal_scores_indexed_premises_come_first_then_new_ones_in_their_order() -> None:
    assert ranking({"a": 0.5, "b": 0.5}, [("y", 0.5), ("x", 0.5), ("best", 0.6)], 10) == ["best", "a", "b", "y", "x"]


def test_at_most_k_are_ranked() -> None:
    assert ranking({"a": 0.9, "b": 0.5}, [("x", 0.7)], 2) == ["a", "x"]
    assert ranking({"a": 0.9}, [("x", 0.7)], 0) == []
    assert ranking({"a": 0.9}, [("x", 0.7)], -3) == []
    assert ranking({"a": 0.9}, [("x", 0.7)], 10**30) == ["a", "x"]


def test_new_premises_that_share_a_name_are_all_ranked() -> None:
    assert ranking({"a": 0.6}, [("x", 0.7), ("x", 0.5), ("x", 0.7)], 10) == ["x", "x", "a", "x"]


def test_either_side_may_be_empty() -> None:
    assert ranking({}, [], 5) == []
    assert ranking({"a": 0.1}, [], 5) == ["a"]
    assert ranking({}, [("x", -0.1)], 5) == ["x"]


def test_a_ranked_premise_is_json_with_the_whole_float32_score() -> None:
    (premise,) = merge(np.array([0.1], dtype=np.float32), ["a"], np.empty(0, dtype=np.float32), [], 1)
    assert premise == RankedPremise(float(np.float32(0.1)), "a")
    assert orjson.loads(orjson.dumps(premise.as_json())) == {"score": float(np.float32(0.1)), "name": "a"}
