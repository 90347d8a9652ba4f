from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import pytest

from api.accessibility import Accessibility
from api.index_list import IndexList
from api.lexical.hybrid_selector import POOL, HybridSelector, open_hybrid_selector
from api.premise_index import PremiseIndex
from api.ranking import RankedPremise
from api.schemas import NewPremise
from api.selector import Question
from api.snapshot import Snapshot, open_snapshot
from api.snapshot_writer import write_snapshot
from shared.corpus import read_corpus
from tests.corpora import declaration, unit_vectors, write_corpus

ROWS = 700
GOAL = "n : Nat\n⊢ Rare.head n"
DIMENSION = 8


class NoClock:
    def timing(self, stage: str) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True)
class Served:
    snapshot: Snapshot
    selector: HybridSelector

    def ask(
        self,
        *states: str,
        k: int = 10,
        new: Sequence[NewPremise] = (),
        modules: Sequence[int] | None = None,
        local: Sequence[int] | None = None,
    ) -> list[list[RankedPremise]]:
        selection = Accessibility(self.snapshot).select(
            imported_modules=None if modules is None else IndexList.of(modules),
            local_premises=None if local is None else IndexList.of(local),
            shadowed_names=[premise.name for premise in new],
        )
        vectors = unit_vectors(len(states), DIMENSION, seed=1), unit_vectors(len(new), DIMENSION, seed=2)
        return self.selector.rank(Question(states, vectors[0], selection, new, vectors[1], k), NoClock())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("hybrid")
    lines = [declaration(f"A.t{row}", type=f"Common.head x{row}") for row in range(ROWS)]
    lines[ROWS - 1] = declaration("A.wanted", type="Rare.head n")
    corpus = read_corpus(write_corpus(folder / "corpus", {"A": lines[:-1], "B": lines[-1:]}))
    vectors = unit_vectors(ROWS, DIMENSION)
    snapshot = open_snapshot(write_snapshot(corpus, vectors, data_dir=folder, model="demo", namespace=None))
    index = PremiseIndex.open(snapshot.index_path)
    return Served(snapshot, open_hybrid_selector(snapshot, snapshot.folder, index))


def names(ranking: Sequence[RankedPremise]) -> list[str]:
    return [premise.name for premise in ranking]


def test_a_premise_is_found_by_its_symbols_wherever_its_vector_stands(served: Served) -> None:
    assert "A.wanted" in names(served.ask(GOAL)[0])


def test_only_accessible_premises_are_ranked(served: Served) -> None:
    assert names(served.ask(GOAL, modules=[1])[0]) == ["A.wanted"]
    assert served.ask(GOAL, modules=[], local=[]) == [[]]


def test_all_that_is_asked_for_is_ranked_once_best_first(served: Served) -> None:
    [ranking] = served.ask(GOAL, k=ROWS)
    scores = [premise.score for premise in ranking]
    assert sorted(names(ranking)) == sorted(served.snapshot.names(np.arange(ROWS)))
    assert scores == sorted(scores, reverse=True)


def test_beyond_the_candidates_scores_are_zero(served: Served) -> None:
    scores = [premise.score for premise in served.ask(GOAL, k=ROWS)[0]]
    assert scores[-1] == 0
    assert np.count_nonzero(scores) >= POOL


def test_a_larger_k_only_adds_premises_at_the_end(served: Served) -> None:
    assert served.ask(GOAL, k=20)[0] == served.ask(GOAL, k=ROWS)[0][:20]


def test_a_new_premise_shadows_the_indexed_one_of_its_name(served: Served) -> None:
    new = NewPremise(name="A.wanted", decl="theorem A.wanted : Rare.head n")
    assert names(served.ask(GOAL, k=ROWS, new=[new])[0]).count("A.wanted") == 1


def test_new_premises_of_one_name_are_all_ranked(served: Served) -> None:
    new = [NewPremise(name="New.t", decl=f"theorem New.t : Rare.head {number}") for number in range(3)]
    assert names(served.ask(GOAL, new=new, modules=[])[0]) == ["New.t"] * 3


def test_each_state_gets_its_own_ranking(served: Served) -> None:
    both = served.ask(GOAL, "⊢ Common.head n")
    assert len(both) == 2
    assert "A.wanted" not in names(both[1])


def test_premises_named_by_local_premises_alone_are_the_callers_own(served: Served) -> None:
    selection = Accessibility(served.snapshot).select(
        imported_modules=IndexList.of([1]), local_premises=IndexList.of([0, 1, ROWS - 1])
    )
    assert selection.local_rows.tolist() == [0, 1]


@pytest.mark.parametrize("decl", ["", "((((", "theorem", "\x00", "⊢ ⊢"])
def test_any_text_is_ranked(served: Served, decl: str) -> None:
    new = [NewPremise(name="New.t", decl=decl)]
    assert names(served.ask(decl, new=new, modules=[])[0]) == ["New.t"]
