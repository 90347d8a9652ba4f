"""`/premise-details`: what the page shows of premises beside their names."""

import pytest

from shared.corpus import Corpus, read_corpus
from shared.demo import demo_corpus_path
from tests.integration.conftest import Server


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(demo_corpus_path())


def test_details_come_in_the_order_of_the_names_with_null_for_unknown_ones(server: Server) -> None:
    names = ["Finset.card_le_card", "No.such", "Nat.add_comm", "Finset.card_le_card"]
    card, unknown, add, again = server.client().post("/premise-details", json={"names": names}).json()
    assert (
        card
        == again
        == {
            "name": "Finset.card_le_card",
            "module": "Mathlib.Data.Finset.Card",
            "kind": "theorem",
            "signature": "{α : Type u_1} {s t : Finset α} : HasSubset.Subset s t → LE.le s.card t.card",
            "formal_type": "∀ {α : Type u_1} {s t : Finset α}, HasSubset.Subset s t → LE.le s.card t.card",
            "documentation": "https://leanprover-community.github.io/mathlib4_docs/Mathlib/Data/Finset/Card.html"
            "#Finset.card_le_card",
        }
    )
    assert unknown is None
    assert add["name"] == "Nat.add_comm"


def test_every_premise_of_the_corpus_has_its_details(server: Server, corpus: Corpus) -> None:
    found = server.client().post("/premise-details", json={"names": [premise.name for premise in corpus.premises]})
    told = [(details["module"], details["kind"], details["signature"]) for details in found.json()]
    assert told == [
        (premise.module, premise.kind, f"{premise.binders} : {premise.result_type}".lstrip())
        for premise in corpus.premises
    ]


def test_a_name_that_the_filters_left_out_is_unknown(server: Server, corpus: Corpus) -> None:
    left_out = next(name for name in corpus.unfiltered_names if name not in {p.name for p in corpus.premises})
    assert server.client().post("/premise-details", json={"names": [left_out]}).json() == [None]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 422, "The request cannot be used"),
        (b'{"names": "Nat.add_comm"}', 422, "names"),
        (b'{"names": ["secret", 1]}', 422, "names.1"),
        (b'{"names": ["\\ud800"]}', 422, "The request cannot be used"),
        (b'{"names": [%s"a"]}' % (b'"a",' * 1024), 422, "at most 1024 names"),
        (b'{"names": ["%s"]}' % (b"a" * 131_072), 413, "fewer names"),
    ],
)
def test_other_bodies_are_refused_with_a_sentence(server: Server, body: bytes, status: int, said: str) -> None:
    response = server.client().post("/premise-details", content=body)
    assert response.status_code == status
    assert said in response.json()["detail"]
    assert "secret" not in response.text
