"""The parts of one API process, wired once: the models with their way to the workers, and the corpus."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from api.accessibility import Accessibility
from api.body_intake import BodyRoom
from api.cancellation import cancel_and_wait, keep_running
from api.corpus_claim import CorpusClaim
from api.embedding_side import EmbeddingSide, ServedModels, running_models
from api.metrics import Metrics
from api.premise_index import PremiseIndex
from api.retrieval import RequestLimits, Retriever
from api.snapshot import Snapshot, current_snapshot, open_snapshot
from shared.errors import NotReadyError, PremiseServerError
from shared.settings import Settings

LOOK_FOR_CORPUS_SECONDS = 0.2
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
    """One API process.  `retriever` is None until the corpus is mapped."""

    settings: Settings
    models: ServedModels
    threads: ThreadPoolExecutor
    parsers: ThreadPoolExecutor
    room: BodyRoom
    metrics: Metrics
    retriever: Retriever | None = None
    claim: CorpusClaim | None = None
    corpus_problem: str = "The corpus is still being prepared: try again in a moment."
    started_at: float = field(default_factory=time.time)

    @property
    def side(self) -> EmbeddingSide:
        """Everything between a text and its vector by the default model, the one of the corpus."""
        return self.models.default.side

    def require_retriever(self) -> Retriever:
        """The retriever, or `NotReadyError`."""
        if self.claim and self.claim.conflict:
            raise NotReadyError(self.claim.why_not_ready() or self.corpus_problem)
        if self.retriever is None:
            raise NotReadyError(self.corpus_problem)
        return self.retriever

    def reasons_not_ready(self) -> list[str]:
        """Why `/health/ready` is not 200; empty when all is up."""
        reasons = [] if self.retriever else [self.corpus_problem]
        if self.claim and (conflict := self.claim.why_not_ready()):
            reasons.append(conflict)
        if not self.side.directory.serving():
            reasons.append(self.side.directory.why_not_serving())
        elif not self.side.directory.taking_jobs():
            reasons.append(EVERY_WORKER_IS_DRAINED)
        elif not self.side.listener.subscribed:
            reasons.append("The subscription to finished jobs is not up yet.")
        return reasons

    async def load_corpus(self) -> None:
        """Map the prepared snapshot as soon as there is one that can be served, then hold the claim on its corpus."""
        refused = None
        while self.retriever is None:
            refused = await self._next_snapshot(refused)
            await self._try_to_map(refused)
        self.claim = CorpusClaim(self.side.client, self.require_retriever().snapshot.manifest.corpus_digest)
        await self.claim.keep()

    async def _next_snapshot(self, refused: Path | None) -> Path:
        """Wait for a snapshot other than the one that was refused: another process writes it."""
        while (folder := current_snapshot(self.settings.data_dir)) in (None, refused):  # noqa: ASYNC110 - as it says
            await asyncio.sleep(LOOK_FOR_CORPUS_SECONDS)
        return folder

    async def _try_to_map(self, folder: Path) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self.threads, self._map_corpus, folder)
        except PremiseServerError as error:
            self.corpus_problem = str(error)
            log.error("the corpus cannot be served: %s", error)
        except Exception:
            self.corpus_problem = "The corpus cannot be served; this process's log says why."
            log.exception("the corpus cannot be served")

    def _map_corpus(self, folder: Path) -> None:
        started = time.perf_counter()
        snapshot = open_snapshot(folder)
        snapshot.touch()
        self.retriever = make_retriever(self, snapshot)
        self.threads.submit(touch_vectors, snapshot, self.retriever.index)
        if snapshot.manifest.namespace:
            self.side.directory.pin(snapshot.manifest.namespace)
        log.info(
            "serving %d premises of %d modules, revision %s, digest %s (mapped in %.2f s)",
            snapshot.manifest.rows,
            len(snapshot.modules),
            snapshot.manifest.revision,
            snapshot.manifest.corpus_digest[:12],
            time.perf_counter() - started,
        )


def make_retriever(service: Service, snapshot: Snapshot) -> Retriever:
    """A retriever over one snapshot."""
    threads = service.settings.search_threads or min(available_cores(), MOST_SEARCH_THREADS)
    return Retriever(
        snapshot=snapshot,
        index=PremiseIndex.open(snapshot.index_path, threads=threads, metrics=service.metrics.search),
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
            asyncio.create_task(service.load_corpus(), name="load corpus"),
            keep_running(metrics.process.keep_up_to_date, "keeping metrics up to date"),
        ]
        try:
            yield service
        finally:
            metrics.process.update()
            await cancel_and_wait(tasks)
            threads.shutdown(cancel_futures=True)
            parsers.shutdown(cancel_futures=True)
