"""Enough of PromQL to see which series an expression asks for, and whether there are such series."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'[^']*')|(?P<range>\[[^\]]*\])|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"""
    r"""|(?P<number>\d[\d.]*)|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>]))"""
)
AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk"}
FUNCTIONS = {"rate", "increase", "delta", "histogram_quantile", "absent"}
OF_COUNTERS = {"rate", "increase"}
LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
OPERATORS = {"and", "or", "unless", "bool"}
TARGET_LABELS = {"job", "instance"}
"""Prometheus adds them to whatever it reads."""

ITS_OWN = {"up": set[str]()}
"""Series that Prometheus makes itself."""


@dataclass(frozen=True)
class Selector:
    """A metric as an expression asks for it."""

    metric: str
    labels: frozenset[str]
    function: str
    """What it stands in directly, empty where it is nothing."""


@dataclass
class Expression:
    """The selectors of an expression and the labels that it groups by; raises `ValueError` where it cannot be read."""

    text: str
    selectors: list[Selector] = field(default_factory=list)
    grouping: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        tokens = self._tokens
        position = 0
        while position < len(tokens):
            position = self._read(position)

    @cached_property
    def _tokens(self) -> list[tuple[str, str]]:
        return list(tokens_of(self.text))

    def _read(self, position: int) -> int:
        kind, value = self._tokens[position]
        if kind != "name" or value in OPERATORS:
            return position + 1
        following = self._sign(position + 1)
        if value in LABEL_LISTS:
            end = self._closing(position + 1, ")")
            self.grouping |= {label for kind, label in self._tokens[position + 1 : end] if kind == "name"}
            return end + 1
        if following == "(" or (value in AGGREGATIONS and self._tokens[position + 1][1] in LABEL_LISTS):
            if value not in AGGREGATIONS | FUNCTIONS:
                raise ValueError(f"unknown function {value} in {self.text}")
            return position + 1
        end, labels = position, frozenset[str]()
        if following == "{":
            end = self._closing(position + 1, "}")
            labels = frozenset(
                self._tokens[place][1] for place in range(position + 2, end) if self._tokens[place][0] == "name"
            )
        before = self._tokens[position - 2][1] if self._sign(position - 1) == "(" else ""
        self.selectors.append(Selector(value, labels, before))
        return end + 1

    def _sign(self, position: int) -> str:
        return self._tokens[position][1] if 0 <= position < len(self._tokens) else ""

    def _closing(self, position: int, sign: str) -> int:
        return next(place for place in range(position, len(self._tokens)) if self._tokens[place][1] == sign)


def tokens_of(text: str) -> Iterator[tuple[str, str]]:
    """Kinds and values, in order."""
    position = 0
    while position < len(text.rstrip()):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read {text[position:]!r}")
        position = match.end()
        kind = str(match.lastgroup)
        yield kind, match[kind]


def problems(text: str, exported: Mapping[str, set[str]], types: Mapping[str, str]) -> list[str]:
    """What of an expression cannot work: `exported` has the labels of each sample name, `types` each one's type."""
    expression = Expression(text)
    known = {**exported, **ITS_OWN}
    found = [] if expression.selectors else ["asks for nothing"]
    offered = set(TARGET_LABELS)
    for selector in expression.selectors:
        if selector.metric not in known:
            found.append(f"{selector.metric} is not exported")
            continue
        labels = known[selector.metric] | TARGET_LABELS
        offered |= labels
        found += [f"{selector.metric} has no label {label}" for label in selector.labels - labels]
        grows = types.get(selector.metric) in {"counter", "histogram"}
        if grows != (selector.function in OF_COUNTERS):
            found.append(f"{selector.metric} is a {types.get(selector.metric)} in {selector.function or 'no function'}")
    return found + [f"nothing here has the label {label}" for label in expression.grouping - offered]
