import pytest

from api.ranking import RankedPremise
from api.selector import Question, StageClock
from api.selectors import Selectors


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def rank(self, question: Question, stages: StageClock) -> list[list[RankedPremise]]:
        raise NotImplementedError


def make_unused() -> Named:
    pytest.fail("made although nobody asked for it")


def test_a_request_that_names_no_selector_gets_the_servers() -> None:
    selectors = Selectors({"dense": make_unused, "hybrid": lambda: Named("hybrid")}, default="hybrid")
    assert selectors.find(None).name == "hybrid"


def test_a_selector_is_made_when_it_is_first_asked_for_and_then_kept() -> None:
    selectors = Selectors({"dense": make_unused, "hybrid": lambda: Named("hybrid")}, default="dense")
    assert selectors.find("hybrid") is selectors.find("hybrid")
