"""text-embeddings-inference's `/embed`: this server can stand behind what was written for that one."""

from functools import partial

from fastapi import APIRouter, Request, Response

from api.dependencies import CurrentService, RequestId, Stages
from api.disconnect import unless_disconnected
from api.embedding_schemas import TEIEmbedRequest, encoded, parse_tei_request, tei_answer
from api.errors import TEIErrorSchema, documented_body, documented_errors
from api.input_embedding import InputOrder, InputsToEmbed, embed_inputs
from api.input_limits import check_inputs
from api.json_body import parsed
from api.provenance import Provenance, of_model

router = APIRouter(tags=["text-embeddings-inference"])


@router.post(
    "/embed",
    openapi_extra=documented_body(TEIEmbedRequest.model_json_schema()),
    response_model=list[list[float]],
    responses=of_model(documented_errors(408, 413, 422, 429, 503, 504, model=TEIErrorSchema)),
)
async def embed(request: Request, service: CurrentService, request_id: RequestId, stages: Stages) -> Response:
    """One vector an input, by the corpus's model; an array also for a single input."""
    body = await request.body()
    settings = service.settings
    request.state.provenance = Provenance(service.side.directory)
    with service.room.place_for(body) as place:
        with stages.timing("parse"):
            asked = await parsed(body, parse_tei_request, service.parsers)
            check_inputs(asked.inputs, settings, param="inputs")
        wanted = InputsToEmbed(
            asked.inputs,
            "inputs",
            truncate=settings.truncate_inputs if asked.truncate is None else asked.truncate,
            dimensions=asked.dimensions,
            normalize=True if asked.normalize is None else asked.normalize,
        )
        order = InputOrder(request_id, stages, settings.retrieve_timeout_seconds, place.leave)
        embedded = await unless_disconnected(request, embed_inputs(service.models.default, wanted, order))
    with stages.timing("encode"):
        content = await encoded(partial(tei_answer, embedded.vectors), embedded.vectors, service.threads)
    return Response(content, media_type="application/json")
