"""Ranks by vectors and symbols together: candidates from both, ordered by a learned ranking."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from api.accessibility import CorpusView
from api.lexical.bm25 import Scores
from api.lexical.candidates import Places
from api.lexical.lexical_stage import LexicalStage, Surroundings
from api.lexical.new_premises import NewPremiseReader
from api.lexical.ranker import Ranker, load_uses
from api.lexical.symbols import goal_symbols
from api.lexical.term_index import TermIndex, TextTerms
from api.lexical.use_counts import UseCounts, count_rows
from api.premise_index import Hits, PremiseIndex, Vectors, score_rows
from api.ranking import RankedPremise
from api.selector import Question, StageClock

POOL = 256
"""Premises that each ranking puts forward."""
FARTHEST = -1.0
"""What stands for the inner product with a damaged vector, which the vectors alone would not rank at all."""
NOT_A_CANDIDATE = 0.0
"""Score of premises that a large k asks for beyond the candidates."""


@dataclass(frozen=True, eq=False)
class HybridSelector:
    """Orders the candidates of both rankings by the chance that a proof uses them."""

    corpus: CorpusView
    index: PremiseIndex
    stage: LexicalStage
    reader: NewPremiseReader
    uses: UseCounts
    ranker: Ranker
    name: str = "hybrid"

    def rank(self, question: Question, stages: StageClock) -> list[list[RankedPremise]]:
        """See `Selector`; a score is between 0 and 1, see docs/selectors.md.

        Where k asks for more than the candidates, what the vectors rank next follows with the score 0.
        """
        with stages.timing("search"):
            hits = self.index.search(question.state_vectors, question.selection, max(POOL, question.k))
            new_scores = self.index.score(question.state_vectors, question.new_vectors)
        with stages.timing("rank"):
            surroundings = Surroundings(question.selection, self.reader.read(question.new_premises))
            goals = self.stage.index.read_texts(map(goal_symbols, question.states))
            return [
                self._rank_goal(question, surroundings, goal, vector, self._merge(hit, of_new))
                for goal, vector, hit, of_new in zip(goals, question.state_vectors, hits, new_scores, strict=True)
            ]

    def _merge(self, hits: Hits, new_scores: Scores) -> tuple[Places, Scores]:
        """Places that the vectors rank first, and the scores of all new premises."""
        places = np.concatenate([hits.rows, self.index.rows + np.arange(len(new_scores))])
        return places[np.argsort(-np.concatenate([hits.scores, new_scores]), kind="stable")], new_scores

    def _rank_goal(
        self,
        question: Question,
        surroundings: Surroundings,
        goal: TextTerms,
        vector: Vectors,
        dense_ranking: tuple[Places, Scores],
    ) -> list[RankedPremise]:
        dense_places, new_scores = dense_ranking
        lexical = self.stage.score(goal, surroundings)
        places = self.stage.propose(dense_places[:POOL], lexical, surroundings, self.uses, POOL)
        if not len(places):
            return []
        rows = places[places < self.index.rows]
        of_new = new_scores[places[len(rows) :] - self.index.rows]
        dense = np.nan_to_num(np.concatenate([score_rows(self.index.flat, vector, rows), of_new]), nan=FARTHEST)
        features = self.stage.features(goal, places, dense, lexical[places], surroundings, self.uses)
        scores = self.ranker.score(features)
        order = np.argsort(-scores, kind="stable")
        rest = dense_places[~np.isin(dense_places, places)]
        ranking = np.concatenate([places[order], rest])[: question.k]
        ranked_scores = np.concatenate([scores[order], np.full(len(rest), NOT_A_CANDIDATE)])[: question.k]
        names = self._names(ranking, question)
        return [RankedPremise(score, name) for score, name in zip(ranked_scores.tolist(), names, strict=True)]

    def _names(self, places: Places, question: Question) -> list[str]:
        indexed = places < self.index.rows
        found = iter(self.corpus.names(places[indexed]))
        new = (question.new_premises[place].name for place in (places[~indexed] - self.index.rows).tolist())
        return [next(found) if is_indexed else next(new) for is_indexed in indexed.tolist()]


def open_hybrid_selector(corpus: CorpusView, folder: Path, index: PremiseIndex) -> HybridSelector:
    """Map the lexical index of a corpus in its snapshot's folder, and load the trained ranking."""
    terms = TermIndex.open(folder)
    terms.touch()
    by_row = count_rows(load_uses(), corpus.find_rows, terms.rows)
    uses = UseCounts.of(by_row, corpus.module_of_row, len(corpus.modules))
    return HybridSelector(
        corpus=corpus,
        index=index,
        stage=LexicalStage(corpus, terms),
        reader=NewPremiseReader(terms, uses, corpus.find_rows),
        uses=uses,
        ranker=Ranker.load(),
    )
