"""Has one API process serve the corpora that are wanted in Redis, and say how far it is: no restart is needed.

While Redis is away what is served stays served.
"""

import asyncio
import logging
import os
import socket
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from api.cancellation import cancel_and_wait, keep_running
from api.corpus_pointer import changed_corpus, find_prepared
from api.retrieval import Retriever
from api.served_corpus import ServedCorpus
from api.snapshot import Snapshot
from shared.corpus_reports import (
    REPORT_SECONDS,
    CorpusReport,
    CorpusState,
    ProcessReport,
    read_reports,
    take_report_back,
    write_report,
)
from shared.errors import CorpusError
from shared.redis_client import RedisError
from shared.wanted_corpora import WantedCorpus, read_wanted

if TYPE_CHECKING:
    from api.service import Service

NOBODY_PREPARES = (
    "It is not prepared yet, and nobody is there to do it: run `premises corpora watch` (make serve and compose do)."
)
WAITS_ITS_TURN = "This corpus waits to be prepared: others come first."
ABOUT_TO_BE_MAPPED = "This corpus is prepared and will be mapped in a moment: try again then."
FURTHEST_BACK: tuple[CorpusState, ...] = ("failed", "waiting", "preparing", "prepared")
REMOVED = "This corpus has been removed."

log = logging.getLogger("api")


@dataclass(eq=False)
class _Followed:
    wanted: WantedCorpus
    corpus: ServedCorpus
    task: "asyncio.Task[None] | None" = None


class CorporaFollower:
    """Converges on the wanted corpora."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._client = service.side.client
        self._followed: dict[str, _Followed] = {}
        self._leaving: dict[str, weakref.ref[Snapshot]] = {}
        self._name = f"{socket.gethostname()}:{service.settings.port}-{os.getpid()}"

    async def follow(self) -> None:
        """Read, converge and report until cancelled."""
        while True:
            try:
                await self._converge(await read_wanted(self._client))
                await self._tell_what_is_awaited()
                await write_report(self._client, ProcessReport(self._name, "replica", self.reports()))
            except RedisError as error:
                log.debug("the wanted corpora were not read: %s", type(error).__name__)
            await asyncio.sleep(REPORT_SECONDS)

    def reports(self) -> dict[str, CorpusReport]:
        """How far this process is with each corpus, those included that it is about to let go."""
        self._leaving = {prefix: left for prefix, left in self._leaving.items() if left() is not None}
        leaving = {prefix: CorpusReport("leaving", REMOVED) for prefix in self._leaving}
        return leaving | {corpus.prefix: corpus.report() for corpus in self._service.corpora.all()}

    async def close(self) -> None:
        """End serving; other processes need not wait until the report is old."""
        await cancel_and_wait([each.task for each in self._followed.values() if each.task])
        try:
            await take_report_back(self._client, self._name)
        except RedisError:
            log.debug("the report of this process was not taken back")

    async def _converge(self, wanted: Mapping[str, WantedCorpus]) -> None:
        for prefix, followed in list(self._followed.items()):
            if prefix not in wanted or not wanted[prefix].is_entry_of(followed.wanted):
                await self._stop(followed)
        for prefix, entry in wanted.items():
            if prefix in self._followed:
                self._followed[prefix].wanted = entry
            else:
                self._start(entry)

    def _start(self, wanted: WantedCorpus) -> None:
        service = self._service
        corpus = ServedCorpus(service.side.client, service.side.directory, wanted.prefix, wanted.added_at)
        followed = self._followed[wanted.prefix] = _Followed(wanted, corpus)
        find = partial(find_prepared, service.settings.data_dir, wanted)
        serve = partial(corpus.serve, find, partial(self._open, followed), service.threads)
        followed.task = keep_running(serve, f"serving the corpus {wanted.prefix}")
        service.corpora.add(corpus)
        log.info("the corpus %s is wanted (%s)", wanted.prefix, wanted.source)

    def _open(self, followed: _Followed, folder: Path) -> Retriever:
        retriever = self._service.open_retriever(folder, followed.wanted.prefix)
        found, held = retriever.snapshot.manifest.corpus_digest, followed.wanted.digest
        if held not in ("", found):
            raise CorpusError(changed_corpus(followed.wanted.prefix, found, held))
        return retriever

    async def _stop(self, followed: _Followed) -> None:
        """New requests find it no more; those that it answers now keep it in memory until they end."""
        prefix, corpus = followed.wanted.prefix, followed.corpus
        self._service.corpora.remove(prefix)
        del self._followed[prefix]
        if followed.task:
            await cancel_and_wait([followed.task])
        if corpus.claim:
            await corpus.claim.release()
        if corpus.retriever:
            self._leaving[prefix] = weakref.ref(corpus.retriever.snapshot)
        corpus.retriever, corpus.problem = None, REMOVED
        log.info("the corpus %s is served no more", prefix)

    async def _tell_what_is_awaited(self) -> None:
        awaited = [each for each in self._followed.values() if each.corpus.retriever is None]
        if awaited:
            reports = await read_reports(self._client)
            for each in awaited:
                each.corpus.await_snapshot(preparation_of(each.wanted, reports))


def preparation_of(wanted: WantedCorpus, reports: Sequence[ProcessReport]) -> CorpusReport:
    """What those who prepare say of a corpus that is not mapped yet; of several hosts the one that is furthest back."""
    preparing = [report.about(wanted.prefix, wanted.added_at) for report in reports if report.kind == "preparer"]
    told = [report for report in preparing if report and report.state in FURTHEST_BACK]
    if not told:
        return CorpusReport("waiting", NOBODY_PREPARES)
    slowest = min(told, key=lambda report: FURTHEST_BACK.index(report.state))
    if slowest.state == "failed":
        return CorpusReport("failed", f"This corpus cannot be prepared: {slowest.detail}")
    if slowest.state == "preparing":
        return CorpusReport("preparing", f"This corpus is being prepared: {slowest.detail}")
    return CorpusReport("waiting", ABOUT_TO_BE_MAPPED if slowest.state == "prepared" else WAITS_ITS_TURN)
