"""`premises corpora watch`: prepares every wanted corpus on this host, one at a time, for as long as it runs.

API replicas only map: they may see the data folder read-only, and reading a corpus takes memory that they lack.
"""

import asyncio
import logging
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import redis.asyncio
from filelock import FileLock, Timeout

from api.cancellation import cancel_and_wait
from api.commands.corpus_preparation import Preparation, run_preparation
from api.corpus_pointer import forget_prefix, pointed_prefixes, snapshots_in_use, unused_snapshots
from api.snapshot_writer import prune_snapshots
from shared.corpus_reports import REPORT_SECONDS, ProcessReport, take_report_back, write_report
from shared.errors import PremiseServerError
from shared.redis_client import RedisError, async_redis
from shared.settings import Settings
from shared.wanted_corpora import WantedCorpus, add_corpus, read_wanted

log = logging.getLogger("prepare")


def watch_corpora(settings: Settings) -> None:
    """Prepare what is wanted until SIGTERM or SIGINT; leaves no process behind."""
    asyncio.run(_watch_until_stopped(settings))


async def _watch_until_stopped(settings: Settings) -> None:
    client = async_redis(settings.redis_url)
    watching = asyncio.create_task(CorpusPreparer(settings, client).run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await watching
    finally:
        await client.aclose()


class CorpusPreparer:
    """Converges on the wanted corpora; while Redis is away it goes on with what it has seen last."""

    def __init__(self, settings: Settings, client: redis.asyncio.Redis) -> None:
        self._settings = settings
        self._client = client
        self._preparations: dict[str, Preparation] = {}
        self._current: Preparation | None = None
        self._work: asyncio.Task[None] | None = None
        self._settings_are_placed = False
        self._name = f"{socket.gethostname()}-{os.getpid()}"

    async def run(self) -> None:
        """Prepare what is wanted until cancelled."""
        try:
            while True:
                try:
                    await self._converge()
                except RedisError as error:
                    log.debug("the wanted corpora were not read: %s", type(error).__name__)
                await asyncio.sleep(REPORT_SECONDS)
        finally:
            await self._stop_current()
            with suppress(RedisError):
                await take_report_back(self._client, self._name)

    async def _converge(self) -> None:
        if not self._settings_are_placed:
            await self._place_those_of_the_settings()
        wanted = await read_wanted(self._client)
        await self._follow(wanted)
        if self._current is None:
            await asyncio.to_thread(forget_removed, self._settings.data_dir, wanted)
            self._start_next()
        reports = {
            prefix: replace(preparation.report, added_at=preparation.wanted.added_at)
            for prefix, preparation in self._preparations.items()
        }
        await write_report(self._client, ProcessReport(self._name, "preparer", reports))

    async def _place_those_of_the_settings(self) -> None:
        for placed in self._settings.corpora:
            source = placed.source.at(self._settings.data_repo)
            try:
                await add_corpus(self._client, WantedCorpus.now(placed.prefix, source, "setting"))
            except PremiseServerError as error:
                log.error("CORPORA: %s", error)
        self._settings_are_placed = True

    async def _follow(self, wanted: dict[str, WantedCorpus]) -> None:
        """Take up what is new; let go of what is wanted no more, or was added anew."""
        for prefix, preparation in list(self._preparations.items()):
            if prefix not in wanted or not wanted[prefix].is_entry_of(preparation.wanted):
                if self._current is preparation:
                    await self._stop_current()
                del self._preparations[prefix]
        for prefix, entry in wanted.items():
            self._preparations.setdefault(prefix, Preparation(entry)).wanted = entry

    def _start_next(self) -> None:
        due = [each for each in self._preparations.values() if each.due_at <= time.monotonic()]
        if due:
            self._current = min(due, key=lambda each: (each.due_at, each.wanted.added_at))
            self._work = asyncio.create_task(self._prepare(self._current))

    async def _stop_current(self) -> None:
        if self._work is not None:
            await cancel_and_wait([self._work])
        self._current = self._work = None

    async def _prepare(self, preparation: Preparation) -> None:
        wanted = preparation.wanted
        preparation.begin()
        log.info("preparing the corpus %s (%s)", wanted.prefix, wanted.source)
        try:
            digest = await run_preparation(wanted, self._settings.data_dir, preparation.tell)
        except PremiseServerError as error:
            pause = preparation.fail(str(error))
            log.error("the corpus %s cannot be prepared, next try in %.0f s: %s", wanted.prefix, pause, error)
        except Exception:
            preparation.fail("Its preparation failed unexpectedly: the log of `premises corpora watch` says why.")
            log.exception("the corpus %s cannot be prepared", wanted.prefix)
        else:
            preparation.finish(digest)
            log.info("the corpus %s is prepared, digest %s", wanted.prefix, digest[:12])
        finally:
            self._current = self._work = None


def forget_removed(data_dir: Path, wanted: dict[str, WantedCorpus]) -> None:
    """Remove what was prepared for prefixes that are wanted no more, and snapshots that nobody needs or maps.

    Nothing is pruned while a preparation runs on the data folder: what it has written is in use only once it has ended.
    """
    for prefix in pointed_prefixes(data_dir):
        if prefix not in wanted:
            log.info("the corpus %s is wanted no more", prefix)
            forget_prefix(data_dir, prefix)
    if unused_snapshots(data_dir):
        with suppress(Timeout), FileLock(data_dir / "prepare.lock", timeout=0):
            prune_snapshots(data_dir, keep=snapshots_in_use(data_dir))
