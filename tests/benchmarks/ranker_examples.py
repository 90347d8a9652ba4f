"""What the learned ranking is trained on: the candidates of the development set's queries with their features."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from api.accessibility import Selection
from api.evaluation.accessible_premises import PlacedCorpus, PlacedQuery
from api.lexical.candidates import first_places
from api.lexical.features import Values, fuse_ranks
from api.lexical.hybrid_selector import POOL
from api.lexical.lexical_stage import LexicalStage, NewPremises, Surroundings
from api.lexical.symbols import goal_symbols
from api.lexical.term_index import TermIndex
from api.lexical.use_counts import UseCounts

Vectors = NDArray[np.float32]
Rows = NDArray[np.integer]

CUTOFFS = (1, 8, 16, 32, 64, 128, 256)
BASELINES = ("dense", "bm25", "rrf")
DEPTH = 1024
"""So deep do the baselines rank."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Candidates of queries behind one another, and what simpler rankings reach; saved as .npz."""

    features: Values
    """Shape (candidates, features)."""
    relevant: NDArray[np.bool_]
    query_of: NDArray[np.int32]
    """Position of the candidate's query, ascending."""
    relevant_count: NDArray[np.int32]
    """Relevant premises of each query, shape (queries,)."""
    module_of: NDArray[np.int32]
    """Module of each query."""
    has_dense: NDArray[np.bool_]
    """Whether all premises that the query may use have a vector; else its dense features mean nothing."""
    baselines: NDArray[np.float64]
    """Recall of BASELINES at CUTOFFS, shape (queries, baselines, cut-offs)."""

    def save(self, path: Path) -> None:
        """Keep them for further trainings."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


class ExampleMaker:
    """Makes the examples of one corpus the way that the server makes candidates and features."""

    def __init__(self, placed: PlacedCorpus, index: TermIndex, vectors: Vectors) -> None:
        """`vectors` has shape (rows, dimension); rows that are not embedded yet are zero."""
        corpus = placed.corpus
        self._row_of_unfiltered = corpus.row_of_unfiltered
        self._rows = {premise.name: row for row, premise in enumerate(corpus.premises)}
        self._position = {name: place for place, name in enumerate(corpus.modules)}
        self._module_of_row = np.array([self._position[premise.module] for premise in corpus.premises], dtype=np.int32)
        theorems = np.array([premise.is_theorem for premise in corpus.premises])
        view: Any = SimpleNamespace(
            modules=corpus.modules, module_of_row=self._module_of_row, is_theorem=theorems
        )  # all that the stage asks for
        self._stage = LexicalStage(view, index)
        self._index = index
        self._vectors = vectors
        self._has_vector = np.concatenate([part.any(axis=1) for part in np.array_split(vectors, 64)])

    def make(self, queries: Sequence[PlacedQuery], goals: Vectors) -> Examples:
        """The examples of queries and the vectors of their goals, shape (queries, dimension)."""
        uses = self._count_uses(queries)
        parts = []
        for number, (query, vector) in enumerate(zip(tqdm(queries, mininterval=10), goals, strict=True)):
            module = self._position[query.query.module]
            parts.append(self._make_one(number, query, vector, uses.without(module)))
        columns = zip(*parts, strict=True)
        joined = [np.concatenate(column) for column in columns]
        return Examples(*joined)

    def _make_one(self, number: int, query: PlacedQuery, vector: Vectors, uses: UseCounts) -> tuple[NDArray[Any], ...]:
        selection = self._select(query)
        rows = np.flatnonzero(selection.mask)
        has_dense = bool(self._has_vector[rows].all())
        surroundings = Surroundings(selection, NewPremises.none())
        [goal] = self._index.read_texts([goal_symbols(query.query.state)])
        lexical = self._stage.score(goal, surroundings)
        dense = lexical.copy()
        if has_dense:
            dense = np.full(len(lexical), -np.inf, dtype=np.float32)
            dense[rows] = self._vectors[rows] @ vector
        by_dense = rows[_first(dense[rows])]
        places = self._stage.propose(by_dense[:POOL], lexical, surroundings, uses, POOL)
        features = self._stage.features(goal, places, dense[places], lexical[places], surroundings, uses)
        relevant = np.array(sorted(self._rows[name] for name in query.relevant))
        baselines = self._baselines(by_dense, first_places(lexical, DEPTH), relevant)
        return (
            features,
            np.isin(places, relevant),
            np.full(len(places), number, dtype=np.int32),
            np.array([len(relevant)], dtype=np.int32),
            np.array([self._position[query.query.module]], dtype=np.int32),
            np.array([has_dense]),
            baselines[np.newaxis],
        )

    def _select(self, query: PlacedQuery) -> Selection:
        imported = np.zeros(len(self._position), dtype=np.bool_)
        imported[query.accessible.imported_modules] = True
        mask = imported[self._module_of_row]
        local_rows = self._row_of_unfiltered[query.accessible.local_premises]
        local_rows = np.unique(local_rows[local_rows >= 0])
        mask[local_rows] = True
        return Selection.of(mask, local_rows)

    def _count_uses(self, queries: Sequence[PlacedQuery]) -> "UsesByModule":
        rows = [np.array([self._rows[name] for name in query.relevant]) for query in queries]
        modules = [self._position[query.query.module] for query in queries]
        return UsesByModule(rows, modules, self._module_of_row, len(self._position))

    def _baselines(self, by_dense: Rows, by_lexical: Rows, relevant: Rows) -> NDArray[np.float64]:
        places = np.union1d(by_dense, by_lexical)
        fused = fuse_ranks(_ranks_in(places, by_dense), _ranks_in(places, by_lexical))
        rankings = by_dense, by_lexical, places[np.argsort(-fused, kind="stable")]
        return np.array([recall(np.isin(ranking, relevant), len(relevant)) for ranking in rankings])


class UsesByModule:
    """How many queries use each premise, less those of one module: what is known of a theorem before it is proved."""

    def __init__(
        self, rows: Sequence[Rows], modules: Sequence[int], module_of_row: NDArray[np.int32], module_count: int
    ) -> None:
        self._all = np.zeros(len(module_of_row), dtype=np.float32)
        self._of_module: dict[int, list[Rows]] = {}
        for used, module in zip(rows, modules, strict=True):
            self._all[used] += 1
            self._of_module.setdefault(module, []).append(used)
        self._module_of_row, self._module_count = module_of_row, module_count

    def without(self, module: int) -> UseCounts:
        """The counts of the other modules' queries."""
        counts = self._all.copy()
        for used in self._of_module.get(module, []):
            counts[used] -= 1
        return UseCounts.of(counts, self._module_of_row, self._module_count)


def recall(hits: NDArray[np.bool_], relevant: int) -> list[float]:
    """Recall at CUTOFFS of one ranking, whose places are hits or not."""
    return [float(hits[:cutoff].sum()) / relevant for cutoff in CUTOFFS]


def _first(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Places of the largest scores, best first."""
    count = min(DEPTH, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    return best[np.argsort(-scores[best], kind="stable")]


def _ranks_in(places: Rows, ranking: Rows) -> NDArray[np.float32]:
    """Rank of each place in a ranking; far behind where it has none."""
    ranks = np.full(len(places), np.float32(1e9))
    ranks[np.searchsorted(places, ranking)] = np.arange(len(ranking))
    return ranks
