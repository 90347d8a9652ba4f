"""Identifiers of a printed statement or goal (constants, types, variables), and the words that make up a name.

Callers send what they like: the work is linear in the text, and what no corpus has (names of thousands of characters or
of dozens of components) is not taken apart.
"""

import re
from collections.abc import Iterator

LONGEST_IDENTIFIER = 1024
"""Characters; the longest name of Mathlib has 203."""
MOST_NAMESPACES = 32
"""So many of a name's namespaces are looked at, the inner ones; Mathlib's names have at most 11."""

_COMPONENT = r"(?:«[^«»]*»|[^\W\d²³¹⁰-₉][\w'!?]*)"
_IDENTIFIER = re.compile(rf"{_COMPONENT}(?:\.{_COMPONENT})*")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zα-ω]+|\d+|[^\W_]")


def list_identifiers(text: str) -> list[str]:
    """The identifiers of a text in its order, with repeats: `Eq (HAdd.hAdd n 0) n` has `Eq`, `HAdd.hAdd`, `n`, `n`.

    Those of more than LONGEST_IDENTIFIER characters are left out.
    """
    return [name for name in _IDENTIFIER.findall(text) if len(name) <= LONGEST_IDENTIFIER]


def list_namespaces(name: str) -> Iterator[str]:
    """The namespaces of a name, inner ones first: `A.B.c` is in `A.B` and in `A`; an overlong name is in none."""
    if len(name) > LONGEST_IDENTIFIER:
        return
    for _ in range(MOST_NAMESPACES):
        if (dot := name.rfind(".")) <= 0:
            return
        name = name[:dot]
        yield name


def split_words(name: str) -> list[str]:
    """The words of a name, in small letters: `IsOpen.mem_nhds` has `is`, `open`, `mem`, `nhds`.

    Those of its first LONGEST_IDENTIFIER characters.
    """
    return [word.lower() for word in _WORD.findall(name, 0, LONGEST_IDENTIFIER)]
