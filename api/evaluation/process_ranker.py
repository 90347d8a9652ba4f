"""Ranks in this process, over a snapshot, with goal vectors from the queue: the server without its HTTP."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from api.body_intake import BodyRoom
from api.embedding_side import running_models
from api.evaluation.ranker import QueryRefusedError, Ranking, RankingRequest, patiently
from api.evaluation.run import Answerer
from api.metrics import Metrics
from api.retrieval import Retriever, StageTimes
from api.schemas import RetrieveRequest, parse_retrieve_request
from api.service import Service
from shared.errors import InvalidRequestError
from shared.settings import Settings

THREADS = 4


@dataclass(frozen=True)
class ProcessRanker:
    """Asks a retriever; reads the same bodies as the server does."""

    retriever: Retriever
    answerer: Answerer

    async def rank(self, request: RankingRequest) -> list[Ranking]:
        """See `Ranker`."""
        try:
            query = parse_retrieve_request(request.body(), max_states=self.retriever.limits.max_states)
            return await patiently(lambda: self._retrieve(query))
        except InvalidRequestError as error:
            raise QueryRefusedError(str(error)) from error

    async def _retrieve(self, query: RetrieveRequest) -> list[Ranking]:
        rankings = await self.retriever.retrieve(query, request_id=uuid.uuid4().hex, stages=StageTimes())
        return [[premise.name for premise in ranking] for ranking in rankings]


@asynccontextmanager
async def open_process_ranker(settings: Settings, folder: Path, selector: str | None) -> AsyncIterator[ProcessRanker]:
    """A ranker over the snapshot in `folder`; vectors of goals come from live workers of its namespace."""
    with ThreadPoolExecutor(THREADS) as threads:
        async with running_models(settings, settings.catalogue()[:1]) as models:
            room = BodyRoom(settings.max_bodies_bytes, settings.max_large_bodies)
            service = Service(settings, models, threads, threads, room, Metrics())
            open_it = asyncio.get_running_loop().run_in_executor(threads, service.open_retriever, folder)
            retriever = await open_it
            manifest = retriever.snapshot.manifest
            if manifest.namespace:
                service.side.directory.pin(manifest.namespace)
            yield ProcessRanker(
                retriever,
                Answerer(
                    through="in process",
                    corpus_digest=manifest.corpus_digest,
                    revision=manifest.revision,
                    model=manifest.model,
                    namespace=manifest.namespace or service.side.directory.known_model().namespace,
                    selector=selector or retriever.selectors.default,
                ),
            )
