"""The ways to rank that a server knows, by name."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from api.lexical.hybrid_selector import open_hybrid_selector
from api.premise_index import PremiseIndex
from api.ranking import RankedPremise, merge
from api.selector import NamesOfRows, Question, Selector, StageClock
from api.snapshot import Snapshot
from shared.settings import SelectorName


@dataclass(frozen=True, eq=False)
class DenseSelector:
    """Ranks by the vectors alone, exactly: the golden contract."""

    corpus: NamesOfRows
    index: PremiseIndex
    name: str = "dense"

    def rank(self, question: Question, stages: StageClock) -> list[list[RankedPremise]]:
        """See `Selector`; a score is the inner product of the normalised vectors."""
        with stages.timing("search"):
            hits = self.index.search(question.state_vectors, question.selection, question.k)
            new_scores = self.index.score(question.state_vectors, question.new_vectors)
            names = [premise.name for premise in question.new_premises]
            return [
                merge(hit.scores, self.corpus.names(hit.rows), scores_of_new, names, question.k)
                for hit, scores_of_new in zip(hits, new_scores, strict=True)
            ]


class Selectors:
    """The ways to rank that a server knows, made when they are first asked for: what is not used costs nothing."""

    def __init__(self, makers: Mapping[str, Callable[[], Selector]], *, default: str) -> None:
        self._makers = makers
        self._made: dict[str, Selector] = {}
        self._lock = threading.Lock()
        self.default = default

    def find(self, name: str | None) -> Selector:
        """A selector by its name; None means the default one."""
        name = name or self.default
        if made := self._made.get(name):  # nobody waits for the making of another one
            return made
        with self._lock:
            if name not in self._made:
                self._made[name] = self._makers[name]()
            return self._made[name]


def make_selectors(snapshot: Snapshot, index: PremiseIndex, *, default: SelectorName) -> Selectors:
    """The ways to rank a corpus; the default one is ready, others open their files when they are first asked for."""
    selectors = Selectors(
        {
            "dense": lambda: DenseSelector(snapshot, index),
            "hybrid": lambda: open_hybrid_selector(snapshot, snapshot.folder, index),
        },
        default=default,
    )
    selectors.find(default)
    return selectors
