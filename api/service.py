"""The parts of one API process, wired once: the models with their way to the workers, and the corpora."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from api.accessibility import Accessibility
from api.body_intake import BodyRoom
from api.cancellation import cancel_and_wait, keep_running
from api.corpora_follower import CorporaFollower
from api.embedding_side import EmbeddingSide, ServedModels, running_models
from api.metrics import Metrics
from api.premise_index import PremiseIndex
from api.retrieval import RequestLimits, Retriever
from api.selectors import make_selectors
from api.served_corpus import ServedCorpora, ServedCorpus
from api.snapshot import Snapshot, current_snapshot, open_snapshot
from shared.settings import Settings

MOST_SEARCH_THREADS = 8
PARSING_THREADS = 2
"""More would not parse faster, and each keeps memory of its own for the largest bodies that it has read."""

WAITING_SEARCHES = 32
"""Requests that may wait for one shared pass; they use no core meanwhile."""

log = logging.getLogger("api")


EVERY_WORKER_IS_DRAINED = (
    "Every worker of this model is being drained: new texts wait until one takes jobs again, or another has started."
)


@dataclass
class Service:
    """One API process."""

    settings: Settings
    models: ServedModels
    threads: ThreadPoolExecutor
    parsers: ThreadPoolExecutor
    room: BodyRoom
    metrics: Metrics
    corpora: ServedCorpora = field(init=False)
    follower: CorporaFollower = field(init=False)
    started_at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.corpora = ServedCorpora(ServedCorpus(self.side.client, self.side.directory))
        self.follower = CorporaFollower(self)

    @property
    def side(self) -> EmbeddingSide:
        """Everything between a text and its vector by the default model, the one of all corpora."""
        return self.models.default.side

    def reasons_not_ready(self, corpus: ServedCorpus | None = None) -> list[str]:
        """Why `/health/ready` of a corpus, by itself the default one, is not 200; empty when all is up."""
        reasons = (corpus or self.corpora.default).why_not_ready()
        if not self.side.directory.serving():
            reasons.append(self.side.directory.why_not_serving())
        elif not self.side.directory.taking_jobs():
            reasons.append(EVERY_WORKER_IS_DRAINED)
        elif not self.side.listener.subscribed:
            reasons.append("The subscription to finished jobs is not up yet.")
        return reasons

    async def serve_default_corpus(self) -> None:
        """Map and claim the corpus that `snapshots/current` names; its vectors say which workers' are accepted."""
        find = partial(current_snapshot, self.settings.data_dir)
        await self.corpora.default.serve(find, self._open_default, self.threads)

    def _open_default(self, folder: Path) -> Retriever:
        retriever = self.open_retriever(folder)
        if namespace := retriever.snapshot.manifest.namespace:
            self.side.directory.pin(namespace)
        return retriever

    def open_retriever(self, folder: Path, prefix: str = "") -> Retriever:
        """Map a snapshot and read what requests need of it; raises what `open_snapshot` and `PremiseIndex.open` do."""
        started = time.perf_counter()
        snapshot = open_snapshot(folder)
        snapshot.touch()
        retriever = make_retriever(self, snapshot)
        self.threads.submit(touch_vectors, snapshot, retriever.index)
        log.info(
            "serving %d premises of %d modules, revision %s, digest %s (mapped in %.2f s)%s",
            snapshot.manifest.rows,
            len(snapshot.modules),
            snapshot.manifest.revision,
            snapshot.manifest.corpus_digest[:12],
            time.perf_counter() - started,
            f" at the prefix {prefix}" if prefix else "",
        )
        return retriever


def make_retriever(service: Service, snapshot: Snapshot) -> Retriever:
    """A retriever over one snapshot."""
    threads = service.settings.search_threads or min(available_cores(), MOST_SEARCH_THREADS)
    index = PremiseIndex.open(snapshot.index_path, threads=threads, metrics=service.metrics.search)
    return Retriever(
        snapshot=snapshot,
        index=index,
        selectors=make_selectors(snapshot, index, default=service.settings.selector),
        accessibility=Accessibility(snapshot),
        embeddings=service.side.embeddings,
        limits=RequestLimits.from_settings(service.settings),
        threads=service.threads,
    )


def touch_vectors(snapshot: Snapshot, index: PremiseIndex) -> None:
    """Bring all vectors into memory while requests are answered already; log what goes wrong, since nobody waits."""
    try:
        snapshot.touch_vectors()
        index.touch()
    except OSError:
        log.warning("the vectors could not be read ahead; searches read them as they need them", exc_info=True)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@asynccontextmanager
async def running_service(settings: Settings, room: BodyRoom, metrics: Metrics) -> AsyncIterator[Service]:
    """The whole API process's parts; the corpus loads in the background."""
    threads = ThreadPoolExecutor(WAITING_SEARCHES + available_cores(), thread_name_prefix="search")
    parsers = ThreadPoolExecutor(PARSING_THREADS, thread_name_prefix="parse")
    async with running_models(settings, settings.catalogue()) as models:
        service = Service(settings, models, threads, parsers, room, metrics)
        metrics.process.follow(service)
        tasks = [
            asyncio.create_task(service.serve_default_corpus(), name="serve the corpus"),
            keep_running(service.follower.follow, "following the wanted corpora"),
            keep_running(metrics.process.keep_up_to_date, "keeping metrics up to date"),
        ]
        try:
            yield service
        finally:
            metrics.process.update()
            await cancel_and_wait(tasks)
            await service.follower.close()
            threads.shutdown(cancel_futures=True)
            parsers.shutdown(cancel_futures=True)
