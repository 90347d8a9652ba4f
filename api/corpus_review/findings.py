"""What a review of a corpus found to be wrong, with file and line; bounded, since one fault may have many lines."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""error: it cannot be served so; warning: something is not as it should be; note: good to know."""

Kind = Literal[
    "missing-file",
    "unusable-file",
    "broken-line",
    "unlisted-module",
    "no-premises",
    "unfit-embeddings",
    "duplicate-name",
    "duplicate-module",
    "odd-name",
    "empty-type",
    "long-text",
    "missing-imports",
    "stray-imports",
    "broken-import",
    "unknown-import",
    "import-cycle",
    "unknown-kind",
    "no-position",
    "unordered-lines",
    "unread-file",
    "unused-blacklist",
]

SEVERITIES: dict[Kind, Severity] = {
    "missing-file": "error",
    "unusable-file": "error",
    "broken-line": "error",
    "unlisted-module": "error",
    "no-premises": "error",
    "unfit-embeddings": "error",
    "duplicate-name": "warning",
    "duplicate-module": "warning",
    "odd-name": "warning",
    "empty-type": "warning",
    "long-text": "warning",
    "missing-imports": "warning",
    "stray-imports": "warning",
    "broken-import": "warning",
    "import-cycle": "warning",
    "unknown-kind": "note",
    "no-position": "note",
    "unordered-lines": "note",
    "unread-file": "note",
    "unused-blacklist": "note",
    "unknown-import": "note",
}
"""Of imports nothing is an error: a server does not read them."""


MOST_NOTES = 3
"""Of a kind, where not all findings are kept: there are hundreds in a sound corpus."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    severity: Severity
    kind: Kind
    file: str
    """Below the corpus folder."""
    line: int | None
    """From 1; None where it is about the whole file."""
    message: str

    @property
    def place(self) -> str:
        """File and line as editors take them."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Findings:
    """All counted, and of each kind the first `most_of_a_kind` kept (None: all)."""

    def __init__(self, most_of_a_kind: int | None = None) -> None:
        self._most = most_of_a_kind
        self.counts: Counter[Kind] = Counter()
        self.kept: list[Finding] = []

    def add(self, kind: Kind, file: str, line: int | None, message: str) -> None:
        """Take one more; `message` is printed on one line whatever names it repeats."""
        self.counts[kind] += 1
        if self.counts[kind] <= self._most_of(SEVERITIES[kind]):
            self.kept.append(Finding(SEVERITIES[kind], kind, _on_one_line(file), line, _on_one_line(message)))

    def count(self, severity: Severity) -> int:
        """How many of that severity there are, kept or not."""
        return sum(count for kind, count in self.counts.items() if SEVERITIES[kind] == severity)

    def _most_of(self, severity: Severity) -> float:
        if self._most is None:
            return math.inf
        return min(self._most, MOST_NOTES) if severity == "note" else self._most


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
