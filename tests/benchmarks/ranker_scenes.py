"""Where the development set's queries are asked from: a file of the corpus, or a project that is not in the corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from api.accessibility import Selection
from api.evaluation.accessible_premises import PlacedCorpus, PlacedQuery
from api.lexical.candidates import Places
from api.lexical.lexical_stage import NewPremises, Surroundings
from api.lexical.module_paths import Paths, count_shared, number_paths
from api.lexical.symbols import declaration_symbols
from api.lexical.term_index import CountedTexts, TermIndex, TextTerms

Rows = NDArray[np.integer]

LARGEST_PROJECT = 2048
SMALLEST_PROJECT = 64


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What the caller of a query may see."""

    surroundings: Surroundings
    new_rows: Rows
    """The rows that the caller sends as new premises, in their order."""
    in_project: bool

    def visible(self, corpus_rows: int) -> tuple[Places, Rows]:
        """The places that the caller may see, indexed and new, and the row behind each."""
        indexed = np.flatnonzero(self.surroundings.selection.mask)
        places = np.concatenate([indexed, corpus_rows + np.arange(len(self.new_rows))])
        return places, np.concatenate([indexed, self.new_rows])


class SceneMaker:
    """Makes the scenes of one corpus."""

    def __init__(self, placed: PlacedCorpus, index: TermIndex) -> None:
        corpus = placed.corpus
        self._premises = corpus.premises
        self._row_of_unfiltered = corpus.row_of_unfiltered
        self._index = index
        self._modules = corpus.modules
        self._position = {name: place for place, name in enumerate(corpus.modules)}
        self.module_of_row = np.array([self._position[premise.module] for premise in corpus.premises], dtype=np.int32)
        self._terms: dict[int, TextTerms] = {}

    def module(self, query: PlacedQuery) -> int:
        """Position of the query's own module."""
        return self._position[query.query.module]

    def in_file(self, query: PlacedQuery) -> Scene:
        """As evaluations ask: imported modules, and the file's earlier premises as local premises."""
        mask, local_rows = self._see(query)
        return Scene(Surroundings(Selection.of(mask, local_rows), NewPremises.none()), local_rows[:0], in_project=False)

    def in_project(self, query: PlacedQuery, size: int) -> Scene:
        """The file's earlier premises and those of the imported modules that are nearest by name are new premises.

        They are up to `size`; as in a project of one's own nothing knows their modules or how often they are used.
        """
        mask, local_rows = self._see(query)
        imported = query.accessible.imported_modules
        nearness = count_shared(self._paths[imported], self._paths[self.module(query)])
        nearest = imported[np.argsort(-nearness, kind="stable")]
        new = [local_rows]
        for module in nearest.tolist():
            if sum(map(len, new)) >= size:
                break
            new.append(self._rows_of_module[module])
        new_rows = np.concatenate(new)[:size]
        mask[new_rows] = False
        return Scene(Surroundings(Selection.of(mask), self._read(new_rows)), new_rows, in_project=True)

    def _see(self, query: PlacedQuery) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        imported = np.zeros(len(self._modules), dtype=np.bool_)
        imported[query.accessible.imported_modules] = True
        mask = imported[self.module_of_row]
        local_rows = self._row_of_unfiltered[query.accessible.local_premises]
        local_rows = np.unique(local_rows[local_rows >= 0])
        mask[local_rows] = True
        return mask, local_rows

    def _read(self, rows: Rows) -> NewPremises:
        chosen = rows.tolist()
        unread = [row for row in chosen if row not in self._terms]
        symbols = (declaration_symbols(self._premises[row].name, self._premises[row].text) for row in unread)
        self._terms |= zip(unread, self._index.read_texts(symbols), strict=True)
        terms = [self._terms[row] for row in chosen]
        return NewPremises(
            terms=terms,
            counted=CountedTexts.of(terms),
            is_theorem=np.array([self._premises[row].is_theorem for row in chosen], dtype=np.bool_),
            uses=np.zeros(len(chosen), dtype=np.float32),
            mentions=np.zeros(len(chosen), dtype=np.int32),
        )

    @cached_property
    def _paths(self) -> Paths:
        return number_paths(self._modules)

    @cached_property
    def _rows_of_module(self) -> Sequence[NDArray[np.intp]]:
        order = np.argsort(self.module_of_row, kind="stable")
        ends = np.cumsum(np.bincount(self.module_of_row, minlength=len(self._modules)))
        return np.split(order, ends[:-1])


def project_sizes(queries: int) -> NDArray[np.int64]:
    """How many new premises each query's project sends: small and large ones alike, the same in every run."""
    logarithms = np.random.default_rng(11).uniform(np.log(SMALLEST_PROJECT), np.log(LARGEST_PROJECT + 1), queries)
    return np.exp(logarithms).astype(np.int64)
