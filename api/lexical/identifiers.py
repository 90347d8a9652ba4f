"""Identifiers of a printed statement or goal: the constants, types and variables that it names."""

import re

_COMPONENT = r"(?:«[^»]*»|[^\W\d²³¹⁰-₉][\w'!?]*)"
_IDENTIFIER = re.compile(rf"{_COMPONENT}(?:\.{_COMPONENT})*")


def list_identifiers(text: str) -> list[str]:
    """The identifiers of a text in its order, with repeats: `Eq (HAdd.hAdd n 0) n` has `Eq`, `HAdd.hAdd`, `n`, `n`."""
    return _IDENTIFIER.findall(text)
