"""What a learned ranking looks at: numbers about a candidate at a goal, none of which knows the model's own scale."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.lexical.bm25 import Scores
from api.lexical.candidates import ranks_of
from api.lexical.term_files import CONCLUSION, CONTEXT, NAME_WORDS, NO_TERM
from api.lexical.term_index import FieldTerms, TermIndex, TextTerms

Values = NDArray[np.float32]

FEATURE_GROUPS: dict[str, tuple[str, ...]] = {
    "dense": ("dense_rank", "dense_deviation", "dense_behind_best"),
    "bm25": ("lexical_rank", "lexical_share", "fused"),
    "constants": (
        "conclusion_shared", "conclusion_covers", "conclusion_in_goal", "context_shared", "context_covers",
        "rarest_shared", "rarest_missing", "missing_constants", "shared_constants", "goal_constants",
    ),
    "heads": ("same_head", "same_second", "head_in_goal", "second_in_goal"),
    "names": ("words_shared", "words_cover", "words_in_goal", "rarest_word_missing", "name_words"),
    "places": (
        "is_local", "local_premises", "local_lexical_rank", "near_module", "module_support", "directory_support",
        "namespace_support", "namespace_in_goal", "namespace_in_context",
    ),
    "use": ("uses", "module_uses", "mentions"),
    "kind": ("is_theorem", "length", "visible_premises"),
}  # fmt: skip
"""Names of the features by the kind of signal."""

FEATURES = tuple(name for names in FEATURE_GROUPS.values() for name in names)
"""In the order of the columns that rankers are trained on."""

BEST_FOR_STATISTICS = 256
SUPPORTERS = 64
RANK_OFFSET = 60
"""Of reciprocal rank fusion, as its authors chose it (Cormack, Clarke and Büttcher, 2009)."""


@dataclass(frozen=True, slots=True, eq=False)
class CandidateTable:
    """What is known of the candidates apart from the goal, a column each; candidates may be rows or new premises."""

    fields: tuple[FieldTerms, FieldTerms, FieldTerms]
    heads: NDArray[np.int32]
    seconds: NDArray[np.int32]
    namespaces: NDArray[np.int32]
    modules: NDArray[np.int32]
    """Position of the module; -1 for new premises."""
    directories: NDArray[np.int32]
    nearness: Values
    """How many leading components of its module's name are those of the caller's own module."""
    is_local: NDArray[np.bool_]
    is_theorem: NDArray[np.bool_]
    lengths: NDArray[np.int32]
    mentions: NDArray[np.int32]
    uses: Values
    """How often proofs are known to use it."""
    module_uses: Values


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Sizes that a request's candidates share."""

    visible_premises: int
    local_premises: int


def compute_features(
    index: TermIndex, goal: TextTerms, table: CandidateTable, dense: Scores, lexical: Scores, counts: RequestCounts
) -> Values:
    """Shape (candidates, len(FEATURES))."""
    dense_ranks, lexical_ranks = ranks_of(dense), ranks_of(lexical)
    fused = fuse_ranks(dense_ranks, lexical_ranks)
    columns = (
        _dense_columns(dense, dense_ranks)
        | _lexical_columns(lexical, lexical_ranks, fused)
        | _constant_columns(index, goal, table)
        | _head_columns(index, goal, table)
        | _name_columns(index, goal, table)
        | _place_columns(index, goal, table, fused, lexical, counts)
        | _use_columns(table)
    )
    columns["visible_premises"] = np.full(len(dense), np.log1p(counts.visible_premises))
    return np.stack([columns[name] for name in FEATURES], axis=1, dtype=np.float32, casting="unsafe")


def fuse_ranks(dense_ranks: Scores, lexical_ranks: Scores) -> Scores:
    """Mean of the two reciprocal ranks, scaled: 1 is first in both."""
    first = RANK_OFFSET + 1
    return np.asarray((first / (first + dense_ranks) + first / (first + lexical_ranks)) / 2, dtype=np.float32)


def _dense_columns(dense: Scores, ranks: Scores) -> dict[str, NDArray[np.floating]]:
    best = dense[ranks < BEST_FOR_STATISTICS]
    spread = max(float(best.std()), 1e-6)
    return {
        "dense_rank": np.log1p(ranks),
        "dense_deviation": (dense - best.mean()) / spread,
        "dense_behind_best": (dense - best.max()) / spread,
    }


def _lexical_columns(lexical: Scores, ranks: Scores, fused: Scores) -> dict[str, NDArray[np.floating]]:
    return {
        "lexical_rank": np.log1p(ranks),
        "lexical_share": lexical / max(float(lexical.max()), 1e-6),
        "fused": fused,
    }


def _constant_columns(index: TermIndex, goal: TextTerms, table: CandidateTable) -> dict[str, NDArray[np.floating]]:
    count = len(table.heads)
    concluded, everything = _marked(index, goal.fields[CONCLUSION]), _marked(index, *goal.fields[:2])
    conclusion, context = table.fields[CONCLUSION], table.fields[CONTEXT]
    weight, context_weight = index.rarity[conclusion.terms], index.rarity[context.terms]
    total = _sum(conclusion, weight, count)
    context_total = _sum(context, context_weight, count)
    in_conclusion = weight * concluded[conclusion.terms]
    in_goal = weight * everything[conclusion.terms]
    context_in_goal = context_weight * everything[context.terms]
    goal_total = index.rarity[goal.fields[CONCLUSION]].sum()
    all_total = goal_total + index.rarity[goal.fields[CONTEXT]].sum()
    shared = _sum(conclusion, in_conclusion, count)
    return {
        "conclusion_shared": shared / np.maximum(total, 1),
        "conclusion_covers": shared / max(goal_total, 1.0),
        "conclusion_in_goal": _sum(conclusion, in_goal, count) / np.maximum(total, 1),
        "context_shared": _sum(context, context_in_goal, count) / np.maximum(context_total, 1),
        "context_covers": (_sum(conclusion, in_goal, count) + _sum(context, context_in_goal, count))
        / max(all_total, 1.0),
        "rarest_shared": _max(conclusion, in_goal, count),
        "rarest_missing": _max(conclusion, weight - in_goal, count),
        "missing_constants": _sum(conclusion, in_goal == 0, count),
        "shared_constants": _sum(conclusion, in_goal > 0, count),
        "goal_constants": np.full(count, len(goal.fields[CONCLUSION])),
    }


def _head_columns(index: TermIndex, goal: TextTerms, table: CandidateTable) -> dict[str, NDArray[np.floating]]:
    head, second = goal.nth(0), goal.nth(1)
    concluded = _marked(index, goal.fields[CONCLUSION])
    return {
        "same_head": _as_values((table.heads == head) & (head != NO_TERM)),
        "same_second": _as_values((table.seconds == second) & (second != NO_TERM)),
        "head_in_goal": concluded[table.heads] * (table.heads != NO_TERM),
        "second_in_goal": concluded[table.seconds] * (table.seconds != NO_TERM),
    }


def _name_columns(index: TermIndex, goal: TextTerms, table: CandidateTable) -> dict[str, NDArray[np.floating]]:
    count = len(table.heads)
    words = table.fields[NAME_WORDS]
    weight = index.rarity[words.terms]
    concluded = _marked(index, goal.conclusion_words)
    everything = _marked(index, goal.counted)
    total = np.maximum(_sum(words, weight, count), 1)
    shared = _sum(words, weight * concluded[words.terms], count)
    missing = weight * (1 - everything[words.terms])
    return {
        "words_shared": shared / total,
        "words_cover": shared / max(index.rarity[goal.conclusion_words].sum(), 1.0),
        "words_in_goal": 1 - _sum(words, missing, count) / total,
        "rarest_word_missing": _max(words, missing, count),
        "name_words": _sum(words, np.ones_like(weight), count),
    }


def _place_columns(
    index: TermIndex, goal: TextTerms, table: CandidateTable, fused: Scores, lexical: Scores, counts: RequestCounts
) -> dict[str, NDArray[np.floating]]:
    supporters = np.where(ranks_of(fused) < SUPPORTERS, fused, 0)
    spaces = _marked(index, goal.conclusion_namespaces), _marked(index, goal.namespaces)
    known = table.namespaces != NO_TERM
    return {
        "is_local": _as_values(table.is_local),
        "local_premises": np.full(len(fused), np.log1p(counts.local_premises)),
        "local_lexical_rank": np.log1p(ranks_of(np.where(table.is_local, lexical, -1.0))) * table.is_local,
        "near_module": table.nearness,
        "module_support": _support(table.modules, supporters),
        "directory_support": _support(table.directories, supporters),
        "namespace_support": _support(table.namespaces, supporters) * known,
        "namespace_in_goal": spaces[0][table.namespaces] * known,
        "namespace_in_context": spaces[1][table.namespaces] * known,
    }


def _use_columns(table: CandidateTable) -> dict[str, NDArray[np.floating]]:
    return {
        "uses": np.log1p(table.uses),
        "module_uses": np.log1p(table.module_uses),
        "mentions": np.log1p(table.mentions),
        "is_theorem": _as_values(table.is_theorem),
        "length": np.log1p(table.lengths),
    }


def _support(groups: NDArray[np.integer], supporters: Scores) -> Scores:
    """Of each candidate: what the other supporters of its group add up to."""
    _, group = np.unique(groups, return_inverse=True)
    total = np.bincount(group, supporters)
    return np.asarray(total[group] - supporters, dtype=np.float32)


def _marked(index: TermIndex, *terms: NDArray[np.int32]) -> Values:
    """1 for each of the terms, 0 for the others, shape (vocabulary,)."""
    marks = np.zeros(index.terms, dtype=np.float32)
    for some in terms:
        marks[some] = 1
    return marks


def _sum(field: FieldTerms, values: NDArray[np.generic], count: int) -> Values:
    return np.bincount(field.owners, values, count).astype(np.float32)


def _max(field: FieldTerms, values: Values, count: int) -> Values:
    """Largest value of each owner, at least 0."""
    largest = np.zeros(count, dtype=np.float32)
    np.maximum.at(largest, field.owners, values)
    return largest


def _as_values(flags: NDArray[np.bool_]) -> Values:
    return flags.astype(np.float32)
