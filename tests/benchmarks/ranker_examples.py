"""What the learned ranking is trained on: the candidates of the development set's queries with their features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from api.evaluation.accessible_premises import PlacedCorpus, PlacedQuery
from api.lexical.candidates import Scores, first_places
from api.lexical.features import Values, fuse_ranks
from api.lexical.hybrid_selector import POOL
from api.lexical.lexical_stage import LexicalStage
from api.lexical.symbols import goal_symbols
from api.lexical.term_index import TermIndex, TextTerms
from api.lexical.use_counts import UseCounts, count_rows
from tests.benchmarks.ranker_scenes import Scene, SceneMaker, project_sizes

Vectors = NDArray[np.float32]
Rows = NDArray[np.integer]

CUTOFFS = (1, 8, 16, 32, 64, 128, 256)
BASELINES = ("dense", "bm25", "rrf")
DEPTH = 1024
"""So deep do the baselines rank."""
GOALS_AT_A_TIME = 64


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
    module: NDArray[np.str_]
    """Name of each query's own module."""
    in_project: NDArray[np.bool_]
    """Whether the query is asked from a project whose premises are new ones."""
    has_dense: NDArray[np.bool_]
    """Whether all premises that the query may use have a vector; else its dense features mean nothing."""
    baselines: NDArray[np.float64]
    """Recall of BASELINES at CUTOFFS, shape (queries, baselines, cut-offs)."""

    def where(self, in_project: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - reads as a sentence
        """The queries that are asked from there and have dense features; all of there if none has."""
        there: NDArray[np.bool_] = self.in_project == in_project
        return there & self.has_dense if self.has_dense.any() else there

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

    def __init__(
        self, placed: PlacedCorpus, index: TermIndex, vectors: Vectors, known_uses: Mapping[str, int] | None = None
    ) -> None:
        """`vectors` has shape (rows, dimension); rows that are not embedded yet are zero.

        `known_uses` are all that is known of how often premises are used; else that is counted from the queries.
        """
        corpus = placed.corpus
        self._scenes = SceneMaker(placed, index)
        self._rows = {premise.name: row for row, premise in enumerate(corpus.premises)}
        self._modules = len(corpus.modules)
        theorems = np.array([premise.is_theorem for premise in corpus.premises])
        view: Any = SimpleNamespace(
            modules=corpus.modules, module_of_row=self._scenes.module_of_row, is_theorem=theorems
        )  # all that the stage asks for
        self._stage = LexicalStage(view, index)
        self._index = index
        self._vectors = vectors
        self._known_uses = known_uses
        self._has_vector = np.concatenate([part.any(axis=1) for part in np.array_split(vectors, 64)])

    def make(self, queries: Sequence[PlacedQuery], goals: Vectors) -> Examples:
        """The examples of queries and the vectors of their goals, shape (queries, dimension).

        Each query is there twice, asked from its file and from a project.
        """
        uses_at = self._count_uses(queries)
        sizes = project_sizes(len(queries)).tolist()
        parts: list[tuple[NDArray[Any], ...]] = []
        scores = self._score_rows(goals)
        for query, of_rows, size in zip(tqdm(queries, mininterval=10), scores, sizes, strict=True):
            [goal] = self._index.read_texts([goal_symbols(query.query.state)])
            known = uses_at(self._scenes.module(query))
            for scene in (self._scenes.in_file(query), self._scenes.in_project(query, size)):
                parts.append(self._make_one(len(parts), query, scene, goal, of_rows, known))
        columns = zip(*parts, strict=True)
        joined = [np.concatenate(column) for column in columns]
        return Examples(*joined)

    def _score_rows(self, goals: Vectors) -> Iterator[Scores]:
        """Inner products of each goal with all rows; many goals at a time, since reading the vectors takes longest."""
        for start in range(0, len(goals), GOALS_AT_A_TIME):
            yield from goals[start : start + GOALS_AT_A_TIME] @ self._vectors.T

    def _make_one(
        self, number: int, query: PlacedQuery, scene: Scene, goal: TextTerms, scores: Scores, uses: UseCounts
    ) -> tuple[NDArray[Any], ...]:
        surroundings = scene.surroundings
        lexical = self._stage.score(goal, surroundings)
        visible, rows = scene.visible(self._index.rows)
        has_dense = bool(self._has_vector[rows].all())
        dense = lexical.copy()
        if has_dense:
            dense = np.full(len(lexical), -np.inf, dtype=np.float32)
            dense[visible] = scores[rows]
        by_dense = visible[_first(dense[visible])]
        places = self._stage.propose(by_dense[:POOL], lexical, surroundings, uses, POOL)
        features = self._stage.features(goal, places, dense[places], lexical[places], surroundings, uses)
        relevant = self._find_rows(sorted(query.relevant))
        relevant_places = visible[np.isin(rows, relevant)]
        baselines = self._baselines(by_dense, first_places(lexical, DEPTH), relevant_places)
        return (
            features,
            np.isin(places, relevant_places),
            np.full(len(places), number, dtype=np.int32),
            np.array([len(relevant)], dtype=np.int32),
            np.array([query.query.module]),
            np.array([scene.in_project]),
            np.array([has_dense]),
            baselines[np.newaxis],
        )

    def _count_uses(self, queries: Sequence[PlacedQuery]) -> Callable[[int], UseCounts]:
        """What is known in a module."""
        if self._known_uses is not None:
            counts = count_rows(self._known_uses, self._find_rows, self._index.rows)
            known = UseCounts.of(counts, self._scenes.module_of_row, self._modules)
            return lambda _: known
        rows = [self._find_rows(sorted(query.relevant)) for query in queries]
        modules = list(map(self._scenes.module, queries))
        return UsesByModule(rows, modules, self._scenes.module_of_row, self._modules).without

    def _find_rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self._rows.get(name, -1) for name in names], dtype=np.int64)

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
