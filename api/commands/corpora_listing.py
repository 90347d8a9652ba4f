"""What `premises corpora` shows: what is wanted, and what each process says of it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import click
import redis.asyncio

from shared.corpus_reports import CorpusReport, Kind, read_reports
from shared.errors import NotReadyError, UnknownCorpusError
from shared.wanted_corpora import read_wanted

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 20.0
"""So long nobody has to report, which processes do every second, and what was removed before may be claimed still."""

DIGEST_SHOWN = 12


@dataclass(frozen=True, slots=True)
class ProcessState:
    """How far one process is."""

    process: str
    kind: Kind
    report: CorpusReport


@dataclass(frozen=True, slots=True)
class CorpusEntry:
    """One corpus."""

    prefix: str
    """Empty: the default one."""
    source: str
    """Empty where this is not known: of the default corpus, and of one that was removed."""
    digest: str
    added_at: float | None = None
    added_by: str = ""
    processes: list[ProcessState] = field(default_factory=list)


async def read_listing(client: redis.asyncio.Redis) -> list[CorpusEntry]:
    """Every corpus that is wanted, or that a process still serves; the default one first."""
    wanted, reports = await read_wanted(client), await read_reports(client)
    reported = {prefix for report in reports for prefix in report.corpora}
    entries = []
    for prefix in sorted(reported | wanted.keys()):
        states = [
            ProcessState(report.process, report.kind, report.corpora[prefix])
            for report in reports
            if prefix in report.corpora
        ]
        digest = next((state.report.digest for state in states if state.report.digest), "")
        if entry := wanted.get(prefix):
            digest = entry.digest or digest
            entries.append(CorpusEntry(prefix, str(entry.source), digest, entry.added_at, entry.added_by, states))
        else:
            entries.append(CorpusEntry(prefix, "", digest, processes=states))
    return entries


def listing_lines(entries: Sequence[CorpusEntry]) -> Iterator[str]:
    """The listing for people."""
    if not entries:
        yield "No corpus is wanted, and no API process reports one."
    for entry in entries:
        digest = f"  digest {entry.digest[:DIGEST_SHOWN]}" if entry.digest else ""
        yield f"{entry.prefix or '(default)'}{digest}  {entry.source}".rstrip()
        for state in entry.processes:
            yield f"    {state.kind:<8} {state.process}: {state.report.state}  {state.report.detail}".rstrip()


async def wait_until_served(client: redis.asyncio.Redis, prefix: str) -> None:
    """Wait until every API process serves a corpus, saying on stderr how far it is.

    Raises `NotReadyError` where it cannot be prepared or served, or where no process says anything.
    """
    said, heard_at = "", time.monotonic()
    while True:
        entry = (await read_wanted(client)).get(prefix)
        if entry is None:
            raise UnknownCorpusError(f"The corpus at {prefix!r} has been removed meanwhile.")
        told = [(each.kind, each.about(prefix, entry.added_at)) for each in await read_reports(client)]
        if {report and report.state for kind, report in told if kind == "replica"} == {"ready"}:
            return
        replicas = [report for kind, report in told if kind == "replica" and report]
        conflict = next((report for report in replicas if report.state == "conflict"), None)
        if failed := next((report for report in replicas if report.state == "failed"), None):
            raise NotReadyError(failed.detail)
        if any(report for _, report in told) and not conflict:
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at > PATIENCE_SECONDS:
            if conflict:
                raise NotReadyError(conflict.detail)
            raise NotReadyError("No API process reports: is REDIS_URL that of the deployment, and is its API running?")
        said = _say(said, replicas)
        await asyncio.sleep(LOOK_SECONDS)


def _say(said: str, replicas: Sequence[CorpusReport]) -> str:
    detail = next((report.detail for report in replicas if report.state != "ready"), said)
    if detail != said:
        click.echo(detail, err=True)
    return detail
