"""Operations: what the server is doing, and its health.

Alive as soon as the port is open, ready when corpus, Redis and a worker of our model are there.
"""

from dataclasses import asdict

from fastapi import APIRouter, Response

from api.dependencies import CurrentService
from api.deployment_status import REDIS_IS_SLOW, QueueDepth, current_depth, describe
from api.errors import documented_errors, json_response
from shared.errors import NotReadyError

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=Response)
async def metrics(service: CurrentService) -> Response:
    """What this process counts, in Prometheus' text format."""
    return Response(service.metrics.text(), media_type=service.metrics.content_type)


@router.get("/health/live")
async def live() -> Response:
    """200 as soon as the port is open."""
    return json_response({"status": "alive"})


@router.get("/health", responses=documented_errors(503))
@router.get("/health/ready", responses=documented_errors(503))
async def ready(service: CurrentService) -> Response:
    """200 when requests can be answered, else 503 with the reasons."""
    reasons = service.reasons_not_ready()
    if reasons:
        return json_response({"status": "not ready", "detail": " ".join(reasons), "reasons": reasons}, 503)
    manifest = service.require_retriever().snapshot.manifest
    return json_response({"status": "ready", "revision": manifest.revision, "digest": manifest.corpus_digest})


@router.get("/status")
async def status(service: CurrentService) -> Response:
    """Corpus, model, workers, queue, and what this replica counts; also while parts are away."""
    return json_response(await describe(service))


@router.get("/queue", response_model=QueueDepth, responses=documented_errors(503))
async def queue(service: CurrentService) -> Response:
    """How much waits in each class of work, and for about how long."""
    depth = await current_depth(service)
    if depth is None:
        directory = service.side.directory
        raise NotReadyError(REDIS_IS_SLOW if directory.serving() else directory.why_not_serving())
    return json_response(asdict(depth))
