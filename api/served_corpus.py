"""The corpora of one API process: the default one, at paths without a prefix, and further ones by URL prefix.

Each is mapped, claimed and answered from by itself: one that cannot be served leaves the others as they are.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import redis.asyncio

from api.corpus_claim import CorpusClaim, claim_key
from api.retrieval import Retriever
from api.worker_directory import WorkerDirectory
from shared.corpus_reports import CorpusReport, CorpusState
from shared.errors import NotReadyError, PremiseServerError

LOOK_FOR_SNAPSHOT_SECONDS = 0.2

STILL_PREPARED = "The corpus is still being prepared: try again in a moment."
FAILED_UNEXPECTEDLY = "The corpus cannot be served; this process's log says why."

log = logging.getLogger("api")


@dataclass(eq=False)
class ServedCorpus:
    """One corpus.  `retriever` is None until it is mapped."""

    client: redis.asyncio.Redis
    directory: WorkerDirectory
    prefix: str = ""
    """First segment of its paths; empty: the default corpus."""
    added_at: float = 0.0
    """When it was wanted at the prefix, epoch seconds; 0: it is the default corpus."""
    retriever: Retriever | None = None
    claim: CorpusClaim | None = None
    problem: str = STILL_PREPARED
    state_before: CorpusState = "waiting"
    """Until it is mapped."""
    refused: Path | None = None
    """The snapshot that cannot be served."""

    @property
    def state(self) -> CorpusState:
        """How far this process is with it."""
        if self.retriever is None:
            return self.state_before
        if self._foreign_vectors():
            return "failed"
        if self.claim and self.claim.conflict:
            return "conflict"
        return "ready" if self.claim and self.claim.settled else "mapping"

    def require_retriever(self) -> Retriever:
        """The retriever, or `NotReadyError`."""
        if self.claim and self.claim.conflict:
            raise NotReadyError(self.claim.why_not_ready() or self.problem)
        if self.retriever is None:
            raise NotReadyError(self.problem)
        if foreign := self._foreign_vectors():
            raise NotReadyError(foreign)
        return self.retriever

    def why_not_ready(self) -> list[str]:
        """One sentence for each thing that is missing; empty when requests can be answered from it."""
        reasons = [] if self.retriever else [self.problem]
        if foreign := self._foreign_vectors():
            reasons.append(foreign)
        if self.claim and (conflict := self.claim.why_not_ready()):
            reasons.append(conflict)
        return reasons

    def report(self) -> CorpusReport:
        """The same for the other processes."""
        digest = self.retriever.snapshot.manifest.corpus_digest if self.retriever else ""
        return CorpusReport(self.state, " ".join(self.why_not_ready()), digest, self.added_at)

    def await_snapshot(self, preparing: CorpusReport) -> None:
        """Say what those who prepare it say, unless this process is past that."""
        if self.retriever is None and self.state_before != "mapping" and self.refused is None:
            self.state_before, self.problem = preparing.state, preparing.detail

    async def serve(
        self,
        find_snapshot: Callable[[], Path | None],
        open_retriever: Callable[[Path], Retriever],
        threads: ThreadPoolExecutor,
    ) -> None:
        """Map the prepared snapshot as soon as there is one that can be served, then hold the claim on its corpus."""
        while self.retriever is None:
            folder = await self._next_snapshot(find_snapshot)
            await self._try_to_map(folder, open_retriever, threads)
        manifest = self.retriever.snapshot.manifest
        self.claim = CorpusClaim(self.client, manifest.corpus_digest, claim_key(self.prefix))
        await self.claim.keep()

    async def _next_snapshot(self, find_snapshot: Callable[[], Path | None]) -> Path:
        """Wait for a snapshot other than the one that was refused, or for that one made anew: others write it."""
        while (folder := find_snapshot()) in (None, self.refused):
            if folder is None:
                self.refused = None
            await asyncio.sleep(LOOK_FOR_SNAPSHOT_SECONDS)
        return folder

    async def _try_to_map(
        self, folder: Path, open_retriever: Callable[[Path], Retriever], threads: ThreadPoolExecutor
    ) -> None:
        self.state_before = "mapping"
        try:
            self.retriever = await asyncio.get_running_loop().run_in_executor(threads, open_retriever, folder)
        except PremiseServerError as error:
            self._refuse(folder, str(error))
            log.error("the corpus%s cannot be served: %s", self.named(), error)
        except Exception:
            self._refuse(folder, FAILED_UNEXPECTEDLY)
            log.exception("the corpus%s cannot be served", self.named())

    def _refuse(self, folder: Path, problem: str) -> None:
        self.refused, self.state_before, self.problem = folder, "failed", problem

    def named(self) -> str:
        """Its prefix with a space before it, nothing for the default corpus: for log lines."""
        return f" {self.prefix}" if self.prefix else ""

    def _foreign_vectors(self) -> str | None:
        """A sentence where its vectors were made in another embedding space than the default corpus's."""
        ours = self.retriever.snapshot.manifest.namespace if self.retriever else None
        pinned = self.directory.pinned_namespace
        if ours is None or pinned is None or ours == pinned:
            return None
        return (
            "The vectors of this corpus were made by another model (weights or dtype differ) than the one that is "
            "served: prepare it again with this model."
        )


@dataclass(eq=False)
class ServedCorpora:
    """All corpora of a process."""

    default: ServedCorpus
    _by_prefix: dict[str, ServedCorpus] = field(default_factory=dict)

    def find(self, prefix: str) -> ServedCorpus | None:
        """The corpus at a prefix, None where there is none."""
        return self._by_prefix.get(prefix)

    def all(self) -> list[ServedCorpus]:
        """The default one first, then by prefix."""
        return [self.default, *(self._by_prefix[prefix] for prefix in self.prefixes())]

    def prefixes(self) -> list[str]:
        """Of the further corpora, sorted."""
        return sorted(self._by_prefix)

    def add(self, corpus: ServedCorpus) -> None:
        """Let requests at its prefix reach it, ready or not."""
        self._by_prefix[corpus.prefix] = corpus

    def remove(self, prefix: str) -> None:
        """Let no new request reach it; those that are answered from it now keep it until they end."""
        self._by_prefix.pop(prefix, None)
