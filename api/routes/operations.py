"""Operations: what the server is doing, and its health.

Alive as soon as the port is open, ready when corpus, Redis and a worker of our model are there.
"""

import asyncio

from fastapi import APIRouter, Response

from api.dependencies import CurrentCorpus, CurrentService
from api.deployment_metrics import deployment_families
from api.deployment_status import REDIS_IS_SLOW, current_queues, describe
from api.errors import documented_errors, json_response
from api.status_schema import Alive, DeploymentStatus, NotReady, Queues, Ready
from shared.errors import NotReadyError

router = APIRouter(tags=["operations"])

EXPOSITION = {"content": {"text/plain": {"schema": {"type": "string"}}}}
UNREADY = {"model": NotReady, "description": "a part is missing; `reasons` says which"}


@router.get("/metrics", response_class=Response, responses={200: EXPOSITION})
async def metrics(service: CurrentService) -> Response:
    """What this server counts, in Prometheus' text format; also while the corpus loads and while Redis is away."""
    deployment = await deployment_families(service)
    service.metrics.process.update()
    text = await asyncio.get_running_loop().run_in_executor(service.parsers, service.metrics.text, deployment)
    return Response(text, media_type=service.metrics.content_type)


@router.get("/health/live", response_model=Alive)
async def live() -> Response:
    """200 as soon as the port is open."""
    return json_response(Alive().model_dump())


@router.get("/health", response_model=Ready, responses={503: UNREADY})
@router.get("/health/ready", response_model=Ready, responses={503: UNREADY})
async def ready(service: CurrentService, corpus: CurrentCorpus) -> Response:
    """200 when requests can be answered, else 503 with the reasons; below a prefix, of that corpus."""
    reasons = service.reasons_not_ready(corpus)
    if reasons:
        return json_response(NotReady(detail=" ".join(reasons), reasons=reasons).model_dump(), 503)
    manifest = corpus.require_retriever().snapshot.manifest
    return json_response(Ready(revision=manifest.revision, digest=manifest.corpus_digest).model_dump())


@router.get("/status", response_model=DeploymentStatus)
async def status(service: CurrentService, corpus: CurrentCorpus) -> Response:
    """Corpus, model, workers, queue, and what this replica counts; also while parts are away."""
    return json_response((await describe(service, corpus)).model_dump())


@router.get("/queue", response_model=Queues, responses=documented_errors(503))
async def queue(service: CurrentService) -> Response:
    """How much waits in each class of work, and for about how long; of the default model, and of each by itself."""
    queues = await current_queues(service.models)
    if queues is None:
        directory = service.side.directory
        raise NotReadyError(REDIS_IS_SLOW if directory.serving() else directory.why_not_serving())
    return json_response(queues.model_dump())
