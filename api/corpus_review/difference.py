"""How two corpora differ, premise by premise: what a new revision adds, drops, changes and moves, and what it costs."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from shared.corpus import Corpus, Premise


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two."""

    corpus: str
    revision: str
    digest: str
    modules: int
    declarations: int
    premises: int


@dataclass(frozen=True, slots=True)
class Place:
    """A premise that only one side has."""

    name: str
    module: str


@dataclass(frozen=True, slots=True)
class Change:
    """Something about a premise of both sides."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Positions:
    """Whether integers that clients remember of the first corpus mean the same in the second."""

    kept: int
    """Positions of the first that hold the same name in the second."""
    changed: int
    first_changed: int | None


@dataclass(frozen=True, slots=True)
class NewTexts:
    """What an embedding of the second corpus costs when the vectors of the first are known."""

    texts: int
    characters: int
    of_texts: int
    """Distinct texts of the second corpus."""


@dataclass(frozen=True, slots=True)
class CorpusDifference:
    """Premises are those after the filters; names are unique among them."""

    before: Side
    after: Side
    modules_added: list[str]
    modules_removed: list[str]
    added: list[Place]
    removed: list[Place]
    renamed: list[Change]
    """Guessed: a removed and an added one whose texts are the same but for name and documentation.  Both are in the
    lists of added and removed, too."""
    statements_changed: list[Change]
    """Binders or type, as they are printed."""
    kinds_changed: list[Change]
    docs_changed: list[Change]
    """Where the documentation alone is another."""
    moved: list[Change]
    """The modules that they were and are in."""
    visibility_changed: list[Change]
    """In the module system, or exposed in it."""
    new_texts: NewTexts
    module_positions: Positions
    premise_positions: Positions


def compare_corpora(before: Corpus, after: Corpus, names: tuple[str, str] = ("before", "after")) -> CorpusDifference:
    """Compare two corpora; `names` is what they are called in the result."""
    earlier = {premise.name: premise for premise in before.premises}
    later = {premise.name: premise for premise in after.premises}
    added = [premise for premise in after.premises if premise.name not in earlier]
    removed = [premise for premise in before.premises if premise.name not in later]
    both = [(earlier[premise.name], premise) for premise in after.premises if premise.name in earlier]
    return CorpusDifference(
        before=_side(names[0], before),
        after=_side(names[1], after),
        modules_added=_missing_from(before.modules, after.modules),
        modules_removed=_missing_from(after.modules, before.modules),
        added=[Place(premise.name, premise.module) for premise in added],
        removed=[Place(premise.name, premise.module) for premise in removed],
        renamed=guess_renamed(removed, added),
        statements_changed=_changes(both, _statement),
        kinds_changed=_changes(both, lambda premise: premise.kind),
        docs_changed=_docs_changed(both),
        moved=_changes(both, lambda premise: premise.module),
        visibility_changed=_changes(both, _visibility),
        new_texts=_new_texts(before, after),
        module_positions=_positions(before.modules, after.modules),
        premise_positions=_positions(before.unfiltered_names, after.unfiltered_names),
    )


def guess_renamed(removed: Sequence[Premise], added: Sequence[Premise]) -> list[Change]:
    """Pairs of one removed and one added premise that nothing but the name tells apart.

    First those with the same last component of the name, then the others; where several fit, nothing is guessed.
    """
    pairs: list[Change] = []
    keys: tuple[Callable[[Premise], Hashable], ...] = (_statement_and_last_component, _kind_and_statement)
    for key in keys:
        paired = {name for pair in pairs for name in (pair.before, pair.after)}
        groups: defaultdict[Hashable, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for side, premises in enumerate((removed, added)):
            for premise in premises:
                if premise.name not in paired:
                    groups[key(premise)][side].append(premise.name)
        pairs += [Change(new[0], old[0], new[0]) for old, new in groups.values() if len(old) == len(new) == 1]
    return pairs


def _side(name: str, corpus: Corpus) -> Side:
    return Side(
        name,
        corpus.revision,
        corpus.digest,
        len(corpus.modules),
        len(corpus.unfiltered_names),
        len(corpus.premises),
    )


def _missing_from(names: Iterable[str], candidates: Iterable[str]) -> list[str]:
    known = set(names)
    return [name for name in candidates if name not in known]


def _changes(both: Iterable[tuple[Premise, Premise]], what: Callable[[Premise], str]) -> list[Change]:
    compared = ((new.name, what(old), what(new)) for old, new in both)
    return [Change(name, before, after) for name, before, after in compared if before != after]


def _docs_changed(both: Iterable[tuple[Premise, Premise]]) -> list[Change]:
    alone = ((old, new) for old, new in both if _kind_and_statement(old) == _kind_and_statement(new))
    return _changes(alone, _doc)


def _statement(premise: Premise) -> str:
    return premise.text[premise.binders_start :]


def _kind_and_statement(premise: Premise) -> tuple[str, str]:
    return premise.kind, _statement(premise)


def _statement_and_last_component(premise: Premise) -> tuple[str, str, str]:
    return *_kind_and_statement(premise), premise.name.rsplit(".", 1)[-1]


def _doc(premise: Premise) -> str:
    """What stands before `kind name `; empty where there is no comment."""
    signature_start = premise.binders_start - len(premise.kind) - len(premise.name) - 2
    return premise.text[:signature_start].strip()


def _visibility(premise: Premise) -> str:
    if not premise.in_module_system:
        return "outside the module system"
    return "exposed" if premise.is_exposed else "not exposed"


def _new_texts(before: Corpus, after: Corpus) -> NewTexts:
    known = {premise.text for premise in before.premises}
    wanted = {premise.text for premise in after.premises}
    new = wanted - known
    return NewTexts(len(new), sum(map(len, new)), len(wanted))


def _positions(before: Sequence[str], after: Sequence[str]) -> Positions:
    changed = [
        position
        for position, name in enumerate(before)
        if position >= len(after) or after[position] != name
    ]  # fmt: skip
    return Positions(len(before) - len(changed), len(changed), changed[0] if changed else None)
