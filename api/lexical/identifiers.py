"""Identifiers of a printed statement or goal (constants, types, variables), and the words that make up a name."""

import re

_COMPONENT = r"(?:«[^»]*»|[^\W\d²³¹⁰-₉][\w'!?]*)"
_IDENTIFIER = re.compile(rf"{_COMPONENT}(?:\.{_COMPONENT})*")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zα-ω]+|\d+|[^\W_]")


def list_identifiers(text: str) -> list[str]:
    """The identifiers of a text in its order, with repeats: `Eq (HAdd.hAdd n 0) n` has `Eq`, `HAdd.hAdd`, `n`, `n`."""
    return _IDENTIFIER.findall(text)


def split_words(name: str) -> list[str]:
    """The words of a name, in small letters: `IsOpen.mem_nhds` has `is`, `open`, `mem`, `nhds`."""
    return [word.lower() for word in _WORD.findall(name)]
