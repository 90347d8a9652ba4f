"""The recorded answers of the server that this one replaces, and the rule by which an answer equals them."""

import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import orjson
import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

SCORE_TOLERANCE = 1e-4
NEAR_TIE = 1e-5
"""Premises whose recorded scores differ by less may swap places, at the last place too."""


class RankedName(TypedDict):
    """One premise of an answer."""

    score: float
    name: str


@dataclass(frozen=True)
class GoldenCase:
    """A request to `/retrieve` and its recorded answer."""

    case: str
    request: dict[str, Any]
    response: list[RankedName]


def require_shared_data() -> Path:
    """The folder with the reference data; skips the test where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the reference data {SHARED_DATA} is not on this machine")
    return SHARED_DATA


def load_golden_cases() -> list[GoldenCase]:
    """All recorded cases; skips the test where there are none."""
    with gzip.open(require_shared_data() / "golden" / "cases.jsonl.gz") as lines:
        return [GoldenCase(**orjson.loads(line)) for line in lines]


def assert_same_ranking(
    expected: Sequence[RankedName], actual: Sequence[RankedName], *, truncated: bool = True
) -> None:
    """Names equal in order and scores to 1e-4, near-ties aside.

    `truncated` says that the ranking ends at k rather than with the last accessible premise: only then may a premise
    that ties with the last one stand in for another.
    """
    assert len(actual) == len(expected), f"{len(actual)} premises instead of {len(expected)}"
    for place, (want, got) in enumerate(zip(expected, actual, strict=True)):
        assert abs(want["score"] - got["score"]) <= SCORE_TOLERANCE, f"place {place}: {got} instead of {want}"
    recorded = dict(zip(_occurrences(expected), (want["score"] for want in expected), strict=True))
    last = expected[-1]["score"] if truncated and expected else float("inf")
    for place, (key, got) in enumerate(zip(_occurrences(actual), actual, strict=True)):
        assert key in recorded or abs(got["score"] - last) < NEAR_TIE, f"place {place}: {got} was not recorded"
        score = recorded.pop(key, got["score"])
        assert abs(score - expected[place]["score"]) < NEAR_TIE, f"place {place}: {got} instead of {expected[place]}"
    for key, score in recorded.items():
        assert abs(score - last) < NEAR_TIE, f"{key} is missing (score {score})"


def _occurrences(ranking: Iterable[RankedName]) -> list[tuple[str, int]]:
    """Each name with how often it came before: duplicate names are all ranked."""
    seen: Counter[str] = Counter()
    keys = []
    for premise in ranking:
        keys.append((premise["name"], seen[premise["name"]]))
        seen[premise["name"]] += 1
    return keys
