"""Proposes candidates for a goal and computes what a ranking looks at, over indexed and new premises alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from api.accessibility import CorpusView, Selection
from api.lexical.candidates import Places, Scores, first_places, most_used
from api.lexical.features import CandidateTable, RequestCounts, Values, compute_features
from api.lexical.module_paths import DIRECTORY_DEPTH, NO_PATH, Paths, count_shared, number_paths
from api.lexical.term_index import CountedTexts, FieldTerms, TermIndex, TextTerms
from api.lexical.use_counts import UseCounts

Scalar = TypeVar("Scalar", bound=np.generic)

MOST_LOCAL = 512
"""So many of the caller's own premises are candidates whatever their scores are."""
NEW_PREMISES_NEARNESS = 4.0
"""Where nothing tells the caller's own module, how near new premises count to be: as those of its file do mostly."""


@dataclass(frozen=True, slots=True, eq=False)
class NewPremises:
    """What is known of a request's new premises, in its order."""

    terms: Sequence[TextTerms]
    counted: CountedTexts
    is_theorem: NDArray[np.bool_]
    uses: NDArray[np.float32]
    mentions: NDArray[np.int32]

    @classmethod
    def none(cls) -> Self:
        """No new premise."""
        return cls((), CountedTexts.of(()), np.zeros(0, np.bool_), np.zeros(0, np.float32), np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Where a goal stands: what its caller may see, indexed and new."""

    selection: Selection
    new: NewPremises

    @property
    def counts(self) -> RequestCounts:
        """Sizes for the features."""
        new = len(self.new.terms)
        return RequestCounts(self.selection.count + new, len(self.selection.local_rows) + new)


@dataclass(frozen=True, eq=False)
class LexicalStage:
    """The lexical and symbolic side of a corpus; thread-safe."""

    corpus: CorpusView
    index: TermIndex

    @cached_property
    def paths(self) -> Paths:
        """Of the corpus' modules."""
        return number_paths(self.corpus.modules)

    def score(self, goal: TextTerms, surroundings: Surroundings) -> Scores:
        """BM25 of rows and new premises, shape (rows + new premises,), 0 for what the caller may not see."""
        scores = self.index.score_rows(goal.counted)
        scores *= surroundings.selection.mask
        return np.concatenate([scores, self.index.score_texts(goal.counted, surroundings.new.counted)])

    def propose(
        self, dense_places: Places, lexical: Scores, surroundings: Surroundings, uses: UseCounts, depth: int
    ) -> Places:
        """Distinct places in order: what each ranking, the caller's own file and general use put forward."""
        selection, new = surroundings.selection, np.arange(self.index.rows, len(lexical))
        local = np.concatenate([selection.local_rows, new])
        local = local[np.argsort(-lexical[local], kind="stable")[:MOST_LOCAL]]
        by_use = most_used(selection, uses.rows_by_use)
        return np.unique(np.concatenate([dense_places, first_places(lexical, depth), local, by_use]))

    def features(
        self,
        goal: TextTerms,
        places: Places,
        dense: Scores,
        lexical: Scores,
        surroundings: Surroundings,
        uses: UseCounts,
    ) -> Values:
        """Shape (len(places), features); `dense` and `lexical` are the places' scores."""
        table = self._describe(places, surroundings, uses)
        return compute_features(self.index, goal, table, dense, lexical, surroundings.counts)

    def _describe(self, places: Places, surroundings: Surroundings, uses: UseCounts) -> CandidateTable:
        rows = places[places < self.index.rows]
        chosen = places[len(rows) :] - self.index.rows
        new, index = surroundings.new, self.index
        texts = [new.terms[place] for place in chosen.tolist()]
        modules = self.corpus.module_of_row[rows]
        unknown = np.full(len(chosen), NO_PATH, dtype=np.int32)
        local_rows = surroundings.selection.local_rows
        nearness, new_nearness = self._nearness(modules, local_rows)
        return CandidateTable(
            fields=(self._field(rows, texts, 0), self._field(rows, texts, 1), self._field(rows, texts, 2)),
            heads=_join(index.heads[rows], [text.nth(0) for text in texts]),
            seconds=_join(index.seconds[rows], [text.nth(1) for text in texts]),
            namespaces=_join(index.namespaces[rows], [text.namespace for text in texts]),
            modules=_join(modules, unknown),
            directories=_join(self.paths[modules, DIRECTORY_DEPTH - 1], unknown),
            nearness=_join(nearness, np.full(len(chosen), new_nearness)),
            is_local=_join(np.isin(rows, local_rows), np.ones(len(chosen))),
            is_theorem=_join(self.corpus.is_theorem[rows], new.is_theorem[chosen]),
            lengths=_join(index.lengths[rows], [text.length for text in texts]),
            mentions=_join(index.mentions[rows], new.mentions[chosen]),
            uses=_join(uses.by_row[rows], new.uses[chosen]),
            module_uses=_join(uses.by_module[modules], np.zeros(len(chosen))),
        )

    def _field(self, rows: NDArray[np.integer], texts: Sequence[TextTerms], field: int) -> FieldTerms:
        indexed = self.index.field(rows, field)
        if not texts:
            return indexed
        of_texts = [text.fields[field] for text in texts]
        owners = np.repeat(np.arange(len(rows), len(rows) + len(texts)), [len(terms) for terms in of_texts])
        return FieldTerms(np.concatenate([indexed.terms, *of_texts]), np.concatenate([indexed.owners, owners]))

    def _nearness(self, modules: NDArray[np.int32], local_rows: NDArray[np.integer]) -> tuple[Values, float]:
        """How near modules are to the one that most local rows are of; and how near new premises are."""
        if not len(local_rows):
            return np.zeros(len(modules), dtype=np.float32), NEW_PREMISES_NEARNESS
        own = self.paths[np.bincount(self.corpus.module_of_row[local_rows]).argmax()]
        return count_shared(self.paths[modules], own), float(np.count_nonzero(own != NO_PATH))


def _join(of_rows: NDArray[Scalar], of_new: ArrayLike) -> NDArray[Scalar]:
    return np.concatenate([of_rows, np.asarray(of_new, dtype=of_rows.dtype)])
