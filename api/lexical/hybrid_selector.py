"""Ranks by vectors and by shared identifiers together, over the same accessible premises."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.lexical.identifiers import list_identifiers
from api.lexical.term_index import TermIndex
from api.premise_index import Hits, PremiseIndex
from api.ranking import RankedPremise
from api.selector import NamesOfRows, Question, StageClock

POOL = 256
"""Each ranking puts forward this many premises, or k where that is more."""
RANK_OFFSET = 60
"""Of reciprocal rank fusion, as its authors chose it (Cormack, Clarke and Büttcher, 2009)."""

Places = NDArray[np.int64]
"""Places in a request's candidates: rows of the corpus first, new premises behind them."""


@dataclass(frozen=True, eq=False)
class HybridSelector:
    """Fuses the dense ranking with the lexical one by reciprocal ranks."""

    corpus: NamesOfRows
    index: PremiseIndex
    terms: TermIndex
    name: str = "hybrid"

    def rank(self, question: Question, stages: StageClock) -> list[list[RankedPremise]]:
        """See `Selector`; a score is the mean of both rankings' 61 / (60 + rank): 1 is first in both."""
        depth = max(POOL, question.k)
        with stages.timing("search"):
            hits = self.index.search(question.state_vectors, question.selection, depth)
            new_scores = self.index.score(question.state_vectors, question.new_vectors)
        with stages.timing("rank"):
            new_words = [list_identifiers(premise.decl) for premise in question.new_premises]
            return [
                self._fuse(question, self._lexical(state, question, new_words, depth), self._dense(hit, scores, depth))
                for state, hit, scores in zip(question.states, hits, new_scores, strict=True)
            ]

    def _dense(self, hits: Hits, new_scores: NDArray[np.float32], depth: int) -> Places:
        places = np.concatenate([hits.rows, self.index.rows + np.arange(len(new_scores))])
        scores = np.concatenate([hits.scores, new_scores])
        return places[np.argsort(-scores, kind="stable")[:depth]]

    def _lexical(self, state: str, question: Question, new_words: Sequence[Sequence[str]], depth: int) -> Places:
        terms = self.terms.find_terms(list_identifiers(state))
        scores = self.terms.score_rows(terms)
        scores[~question.selection.mask] = 0
        scores = np.concatenate([scores, self.terms.score_texts(terms, new_words)])
        best = np.argpartition(-scores, depth)[:depth] if depth < len(scores) else np.arange(len(scores))
        best = best[scores[best] > 0]
        return best[np.lexsort((best, -scores[best]))]

    def _fuse(self, question: Question, *rankings: Places) -> list[RankedPremise]:
        places, position = np.unique(np.concatenate(rankings), return_inverse=True)
        parts = [(RANK_OFFSET + 1) / (RANK_OFFSET + 1 + np.arange(len(ranking))) for ranking in rankings]
        scores = np.bincount(position, np.concatenate(parts), len(places)) / len(rankings)
        best = np.argsort(-scores, kind="stable")[: question.k]
        names = self._names(places[best], question)
        return [RankedPremise(score, name) for score, name in zip(scores[best].tolist(), names, strict=True)]

    def _names(self, places: Places, question: Question) -> list[str]:
        indexed = places < self.index.rows
        found = iter(self.corpus.names(places[indexed]))
        new = (question.new_premises[place].name for place in (places[~indexed] - self.index.rows).tolist())
        return [next(found) if is_indexed else next(new) for is_indexed in indexed.tolist()]
