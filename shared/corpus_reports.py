"""What each process says of the corpora: how far replicas are with serving them, and preparers with preparing them.

Kept as heartbeats are (`shared/heartbeats.py`), for the same reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

import orjson
import redis.asyncio
from pydantic import TypeAdapter

from shared.heartbeats import BEAT, LIVE, REMEMBERED_LIVES
from shared.unreadable_entries import tell_unreadable

REPORTERS_KEY = "premises:corpora:reporters"
"""Sorted set of the processes that report, by the time (Redis' own) at which they count as gone."""

REPORTS_KEY = "premises:corpora:reports"
"""Hash of the latest report of each."""

REPORT_SECONDS = 1.0
REPORT_TTL_SECONDS = 10.0

CorpusState = Literal["waiting", "preparing", "prepared", "mapping", "ready", "conflict", "failed", "leaving"]
"""In the order of a corpus's life: `waiting` for a snapshot, `mapping` until it is mapped and claimed; `conflict`:
other replicas serve another corpus there; `leaving`: removed, and still in the hands of requests that began before."""

Kind = Literal["replica", "preparer"]


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """One corpus as one process sees it."""

    state: CorpusState
    detail: str = ""
    """A sentence on what is missing or how far it is; empty: there is nothing to say."""
    digest: str = ""
    """Of names and order, once known."""
    added_at: float = 0.0
    """Of the wanted corpus that this is about, epoch seconds, since another may have been at the prefix before; 0: the
    default one."""


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """All corpora as one process sees them, by prefix; the default one's is empty."""

    process: str
    """Host, and port or process id: for people."""
    kind: Kind
    corpora: Mapping[str, CorpusReport] = field(default_factory=dict)

    def about(self, prefix: str, added_at: float) -> CorpusReport | None:
        """What it says of the corpus that was wanted then, None where it says nothing of that one (yet)."""
        report = self.corpora.get(prefix)
        return report if report and report.added_at == added_at else None

    @classmethod
    def from_bytes(cls, value: bytes) -> Self:
        """Read a report; raises `ValueError` where it is none, or one of a state that this version does not know."""
        return TypeAdapter(cls).validate_json(value, strict=True)


async def write_report(client: redis.asyncio.Redis, report: ProcessReport) -> None:
    """Say how far a process is; good for `REPORT_TTL_SECONDS`."""
    lives = [REPORT_TTL_SECONDS, REMEMBERED_LIVES * REPORT_TTL_SECONDS]
    await client.eval(BEAT, 2, REPORTERS_KEY, REPORTS_KEY, report.process, orjson.dumps(report), *lives)


async def take_report_back(client: redis.asyncio.Redis, process: str) -> None:
    """Say that a process has ended."""
    await client.zrem(REPORTERS_KEY, process)
    await client.hdel(REPORTS_KEY, process)


async def read_reports(client: redis.asyncio.Redis) -> list[ProcessReport]:
    """The reports of the processes that live, by name; what cannot be read, as of a later version, is left out."""
    reports = []
    for value in await client.eval(LIVE, 2, REPORTERS_KEY, REPORTS_KEY):
        try:
            reports += [ProcessReport.from_bytes(value)] if isinstance(value, bytes) else []
        except ValueError as error:
            tell_unreadable("A process's report of its corpora", error)
    return sorted(reports, key=lambda report: report.process)
