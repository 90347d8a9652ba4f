"""Goes through all declarations of a corpus: counts them, tells what the filters do, and finds what is wrong."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from api.corpus_review.findings import Findings, Kind
from shared.corpus import (
    DENIED_MODULE_COMPONENTS,
    DENIED_NAME_COMPONENTS,
    DropReason,
    Filter,
    GatheredPremises,
    Premise,
    filters_against,
    parse_declaration,
)
from shared.corpus_files import DECLARATIONS_FOLDER, LINES_SUFFIX, parse_object, read_lines
from shared.errors import CorpusError

KNOWN_KINDS = frozenset({"theorem", "def", "instance", "structure", "class", "inductive", "axiom", "opaque", "abbrev"})
BREAKING_CHARACTERS = "\0\n\r"
Fields = dict[str, object]


@dataclass(slots=True)
class FilterEffect:
    """What one filter leaves out."""

    matches: int = 0
    """Declarations that it is against, whatever other filters say."""
    alone: int = 0
    """Those among them that only this filter leaves out."""
    frequent: Counter[str] = field(default_factory=Counter)
    """What it took exception to, and how often."""


@dataclass(slots=True)
class DeclarationTally:
    """Counts that need the declarations themselves."""

    with_doc: int = 0
    """Before the filters."""
    filters: dict[Filter, FilterEffect] = field(default_factory=dict)
    dropped: Counter[DropReason] = field(default_factory=Counter)
    """Each declaration counted once, by the first reason."""
    longest_place: str = ""
    longest_characters: int = 0


class DeclarationReview:
    """Takes the declaration files of a corpus in their order."""

    def __init__(
        self,
        modules: Sequence[str],
        denied_names: frozenset[str],
        findings: Findings,
        *,
        max_text_characters: int,
    ) -> None:
        self._modules = frozenset(modules)
        self.denied_names = denied_names
        self._findings = findings
        self._max_text_characters = max_text_characters
        self._place_of_name: dict[str, tuple[str, int]] = {}
        self._kinds_told: set[str] = set()
        self.gathered = GatheredPremises(denied_names)
        self.tally = DeclarationTally()

    def take_files(self, paths: Sequence[Path], advance: Callable[[], object]) -> None:
        """Review files; `advance` is called after each."""
        for path in paths:
            self._take_file(path)
            advance()

    def used_blacklist(self) -> frozenset[str]:
        """Names of the blacklist that are declared."""
        return self.denied_names & self._place_of_name.keys()

    def _take_file(self, path: Path) -> None:
        file, module = f"{DECLARATIONS_FOLDER}/{path.name}", path.name.removesuffix(LINES_SUFFIX)
        try:
            lines = read_lines(path)
        except CorpusError as error:
            self._findings.add("unusable-file", file, None, str(error))
            return
        if lines and module not in self._modules:
            self._findings.add("unlisted-module", file, None, f"Modules.jsonl has no module {module!r}: extract both.")
        positions = PositionReview(file, self._findings)
        for number, fields, premise in self._parsed(file, module, lines):
            self._take(file, number, fields, premise)
            positions.take(number, fields)

    def _parsed(self, file: str, module: str, lines: list[bytes]) -> Iterator[tuple[int, Fields, Premise]]:
        for number, line in enumerate(lines, start=1):
            try:
                fields = parse_object(line)
                premise = parse_declaration(fields, module)
            except ValueError as error:
                self._findings.add("broken-line", file, number, f"{error}.")
            else:
                yield number, fields, premise

    def _take(self, file: str, number: int, fields: Fields, premise: Premise) -> None:
        self.tally.with_doc += bool(fields.get("doc"))
        reason = self.gathered.add(premise)
        if reason is not None:
            self._count_dropped(premise, reason)
        elif len(premise.text) > self.tally.longest_characters:
            self.tally.longest_characters, self.tally.longest_place = len(premise.text), f"{file}:{number}"
        self._check_name(file, number, premise.name)
        self._check_text(file, number, premise)

    def _count_dropped(self, premise: Premise, reason: DropReason) -> None:
        self.tally.dropped[reason] += 1
        against = list(filters_against(premise, self.denied_names))
        for name in against:
            effect = self.tally.filters.setdefault(name, FilterEffect())
            effect.matches += 1
            effect.alone += len(against) == 1 and reason != "duplicate"
            effect.frequent.update(_exceptions(name, premise))

    def _check_name(self, file: str, number: int, name: str) -> None:
        earlier = self._place_of_name.setdefault(name, (file, number))
        if earlier != (file, number):
            place = f"{earlier[0]}:{earlier[1]}"
            self._findings.add("duplicate-name", file, number, f"{name} is declared before, at {place}.")
        if not name or any(character in name for character in BREAKING_CHARACTERS):
            self._findings.add("odd-name", file, number, f"The name {name!r} is empty or has a line break in it.")

    def _check_text(self, file: str, number: int, premise: Premise) -> None:
        if not premise.result_type.strip():
            self._findings.add("empty-type", file, number, f"{premise.name} has an empty type.")
        if len(premise.text) > self._max_text_characters:
            self._findings.add(
                "long-text", file, number, f"The text of {premise.name} has {len(premise.text):,} characters, more "
                f"than MAX_TEXT_CHARACTERS={self._max_text_characters:,}.",
            )  # fmt: skip
        if premise.kind not in KNOWN_KINDS and premise.kind not in self._kinds_told:
            self._kinds_told.add(premise.kind)
            self._findings.add(
                "unknown-kind", file, number, f"The kind {premise.kind!r} is none of the usual (told once); "
                "only `theorem` is visible to every importer in the module system.",
            )  # fmt: skip


class PositionReview:
    """Where the declarations of a file stand in their source; the first fault of a file is told."""

    def __init__(self, file: str, findings: Findings) -> None:
        self._file = file
        self._findings = findings
        self._last = (0, 0)
        self._told = False

    def take(self, number: int, fields: Fields) -> None:
        """Look at `line` and `column` of the declaration in this line."""
        if self._told:
            return
        line, column = fields.get("line"), fields.get("column")
        if type(line) is not int or type(column) is not int or line < 1 or column < 0:  # booleans are ints otherwise
            self._tell("no-position", number, "`line` (from 1) or `column` (from 0) is missing or no position.")
        elif (line, column) < self._last:
            self._tell("unordered-lines", number, "declarations are not in the order of their source from here on.")
        else:
            self._last = (line, column)

    def _tell(self, kind: Kind, number: int, message: str) -> None:
        self._told = True
        self._findings.add(kind, self._file, number, message)


def _exceptions(name: Filter, premise: Premise) -> Iterator[str]:
    """What in a premise the filter is against."""
    match name:
        case "blacklist":
            return
        case "type prefix":
            yield premise.result_type.split(maxsplit=1)[0]
        case "name component":
            yield from DENIED_NAME_COMPONENTS.intersection(premise.name.split("."))
        case "module component":
            yield from DENIED_MODULE_COMPONENTS.intersection(premise.module.split("."))
