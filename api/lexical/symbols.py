"""The symbols of a statement or a goal: what it concludes, what it assumes, and what it is called.

Texts are as Lean prints them with `pp.notation` off, so that nearly every constant stands there by its full name.
"""

import re
from dataclasses import dataclass

from api.lexical.identifiers import list_identifiers

_BRACKETS_AND_BREAKS = re.compile(r"[(\[{⟨«]|[)\]}⟩»]|→|,")
_OPENING = frozenset("([{⟨«")
_CLOSING = frozenset(")]}⟩»")
_BEFORE_TYPE = re.compile(r"[(\[{⟨«]|[)\]}⟩»]| : |:=")
_DOC_COMMENT = re.compile(r"\s*/--.*?-/\s*", re.DOTALL)
_GOAL = "⊢"
READ_CHARACTERS = 65_536
"""What is read of a caller's hypotheses, goal or signature; the longest statement of Mathlib has 9,824."""
THEOREM_KINDS = frozenset({"theorem", "axiom", "lemma"})
"""How theorems begin; a caller in the module system prints imported ones as axioms."""


@dataclass(frozen=True, slots=True)
class Symbols:
    """Identifiers in their order, with repeats."""

    name: str
    """Empty for a goal."""
    conclusion: list[str]
    """The first one is the head: `Eq` of an equation."""
    context: list[str]
    """Of binders and hypotheses."""


def statement_symbols(name: str, binders: str, result_type: str) -> Symbols:
    """Symbols of a declaration; the hypotheses of `h → c` belong to the context."""
    conclusion_start = _find_conclusion(result_type)
    context = list_identifiers(binders) + list_identifiers(result_type[:conclusion_start])
    return Symbols(name, list_identifiers(result_type[conclusion_start:]), context)


def declaration_symbols(name: str, decl: str) -> Symbols:
    """Symbols of a declaration printed as one text: `theorem name (binders) : type`."""
    start = _signature_start(decl)
    text = decl[start : start + READ_CHARACTERS]
    rest = text.partition(name)[2] if name else ""
    binders, result_type = _split_signature(rest or text)
    return statement_symbols(name, binders, result_type)


def declares_theorem(decl: str) -> bool:
    """Whether a printed declaration is one of a theorem."""
    return decl[_signature_start(decl) :].partition(" ")[0] in THEOREM_KINDS


def goal_symbols(state: str) -> Symbols:
    """Symbols of the first goal of a state."""
    hypotheses, _, goal = state.partition(_GOAL)
    first, _, _ = goal.partition(f"\n{_GOAL}")
    hypotheses, first = hypotheses[:READ_CHARACTERS], first[:READ_CHARACTERS]
    return statement_symbols("", hypotheses, first if goal else hypotheses)


def _signature_start(decl: str) -> int:
    comment = _DOC_COMMENT.match(decl)
    return comment.end() if comment else 0


def _split_signature(text: str) -> tuple[str, str]:
    depth = 0
    for mark in _BEFORE_TYPE.finditer(text):
        if mark[0] in _OPENING:
            depth += 1
        elif mark[0] in _CLOSING:
            depth -= 1
        elif depth <= 0:
            return text[: mark.start()], text[mark.end() :]
    return "", text


def _find_conclusion(result_type: str) -> int:
    """Where the conclusion begins: behind the last arrow outside brackets, and behind the binders of a `∀`."""
    if "→" not in result_type and not result_type.startswith("∀"):
        return 0
    start = depth = 0
    for mark in _BRACKETS_AND_BREAKS.finditer(result_type):
        if mark[0] in _OPENING:
            depth += 1
        elif mark[0] in _CLOSING:
            depth -= 1
        elif depth == 0 and (mark[0] == "→" or result_type.startswith("∀", start)):
            start = mark.end() + 1
    return start
