"""What the fault tests have seen, for the table in docs/reliability.md.

FAULTS=full (`make test-faults`) writes the table, and so does FAULTS_TABLE, which writes that of the shorter form.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.load import Heard

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->"
FAULT_PROPERTY = "fault"
FAULT_TESTS = "tests/acceptance/"
LEAST_TESTS = 50
"""More than any one file has: fewer are a selection."""

COLUMNS = ("fault", "tried", "requests in flight", "lost", "wrong", "slowest recovery")


@dataclass(frozen=True)
class Fault:
    """One fault as it was tried."""

    name: str
    tried: int
    in_flight: int
    lost: int
    """Requests that heard nothing, or a success that was none, and jobs that vanished."""
    wrong: int
    slowest_recovery_seconds: float

    @classmethod
    def seen(
        cls, name: str, heard: Sequence[Heard], recovery_seconds: float, *, tried: int = 1, in_flight: int | None = None
    ) -> "Fault":
        """A fault, `tried` so often at once, counted from what clients heard."""
        lost = sum(each.status == 0 for each in heard)
        wrong = sum(each.wrong for each in heard) - lost
        return cls(name, tried, len(heard) if in_flight is None else in_flight, lost, wrong, recovery_seconds)

    def row(self) -> str:
        """A line of the table."""
        cells = (self.name, self.tried, self.in_flight, self.lost, self.wrong, f"{self.slowest_recovery_seconds:.1f} s")
        return "| " + " | ".join(map(str, cells)) + " |"


class FaultTable:
    """Pytest plugin: writes the table when all fault tests were run, by however many processes, and none failed."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._tests: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid.startswith(FAULT_TESTS):
            self._tests.add(report.nodeid)
        if report.when == "teardown":
            told = [seen for name, seen in report.user_properties if name == FAULT_PROPERTY]
            self._faults += [Fault(**seen) for seen in told if isinstance(seen, dict)]

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        option = session.config.option
        selected = option.keyword or option.markexpr or option.deselect or getattr(option, "lf", False)
        everything = not selected and len(self._tests) > LEAST_TESTS
        wanted = wants_full() or "FAULTS_TABLE" in os.environ
        if wanted and everything and exitstatus == pytest.ExitCode.OK:
            faults = sorted(self._faults, key=lambda fault: fault.name)
            shorter = "the shorter form, `FAULTS_TABLE=1 make test`"
            write_table(faults, "`make test-faults`" if wants_full() else shorter)


def wants_full() -> bool:
    """Whether faults are tried more often and longer."""
    return os.environ.get("FAULTS") == "full"


def table(faults: Sequence[Fault]) -> str:
    """The table in Markdown; a fault that was reported several times has one line."""
    merged: dict[str, Fault] = {}
    for fault in faults:
        merged[fault.name] = _merge(merged[fault.name], fault) if fault.name in merged else fault
    header = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    return "\n".join([*header, *(fault.row() for fault in merged.values())]) + "\n"


def write_table(faults: Sequence[Fault], run: str, document: Path = DOCUMENT) -> None:
    """Replace the table of the document; `run` says what it is of."""
    text = document.read_text()
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{document} has no place for the table: it wants the lines {BEGIN!r} and {END!r}")
    document.write_text(f"{before}{BEGIN}By {run}:\n\n{table(faults)}{END}{after}")


def _merge(first: Fault, second: Fault) -> Fault:
    return Fault(
        first.name,
        first.tried + second.tried,
        first.in_flight + second.in_flight,
        first.lost + second.lost,
        first.wrong + second.wrong,
        max(first.slowest_recovery_seconds, second.slowest_recovery_seconds),
    )
