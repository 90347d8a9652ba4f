"""OpenAI's embeddings API: the official clients, and whatever is built on them."""

from functools import partial

from fastapi import APIRouter, Request, Response

from api.dependencies import CurrentService, RequestId, Stages
from api.disconnect import unless_disconnected
from api.embedding_schemas import (
    OpenAIEmbeddings,
    OpenAIEmbeddingsRequest,
    OpenAIModel,
    OpenAIModels,
    encoded,
    openai_answer,
    parse_openai_request,
)
from api.embedding_side import ServedModel
from api.errors import OpenAIErrorSchema, documented_body, documented_errors, json_response
from api.input_embedding import InputOrder, InputsToEmbed, embed_inputs
from api.input_limits import check_inputs
from api.json_body import parsed
from api.provenance import Provenance, of_model
from api.service import Service

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post(
    "/embeddings",
    openapi_extra=documented_body(OpenAIEmbeddingsRequest.model_json_schema()),
    response_model=OpenAIEmbeddings,
    responses=of_model(documented_errors(400, 404, 408, 413, 429, 503, 504, model=OpenAIErrorSchema)),
)
async def create_embeddings(
    request: Request, service: CurrentService, request_id: RequestId, stages: Stages
) -> Response:
    """Vectors of texts or token ids, in the order of the inputs."""
    body = await request.body()
    settings = service.settings
    with service.room.place_for(body) as place:
        with stages.timing("parse"):
            asked = await parsed(body, parse_openai_request, service.parsers)
            check_inputs(asked.input, settings, param="input")
        model = service.models.find(asked.model)
        request.state.provenance = Provenance(model.side.directory)
        truncate = settings.truncate_inputs if asked.truncate is None else asked.truncate
        wanted = InputsToEmbed(asked.input, "input", truncate=truncate, dimensions=asked.dimensions)
        order = InputOrder(request_id, stages, settings.retrieve_timeout_seconds, place.leave)
        embedded = await unless_disconnected(request, embed_inputs(model, wanted, order))
    with stages.timing("encode"):
        answer = partial(openai_answer, embedded.vectors, asked, embedded.tokens)
        content = await encoded(answer, embedded.vectors, service.threads)
    return Response(content, media_type="application/json")


@router.get("/models", response_model=OpenAIModels)
async def list_models(service: CurrentService) -> Response:
    """The models that this deployment serves, the corpus's first."""
    models = OpenAIModels(data=[_describe(service, model) for model in service.models.all()])
    return json_response(models.model_dump())


@router.get(
    "/models/{name:path}", response_model=OpenAIModel, responses=documented_errors(404, model=OpenAIErrorSchema)
)
async def get_model(name: str, service: CurrentService) -> Response:
    """One model by its name, which may contain slashes."""
    return json_response(_describe(service, service.models.find(name)).model_dump())


def _describe(service: Service, model: ServedModel) -> OpenAIModel:
    facts = model.side.directory.last_known()
    owner, _, rest = model.entry.model_id.partition("/")
    return OpenAIModel(
        id=model.name,
        created=int(facts.started_at if facts else service.started_at),
        owned_by=owner if owner and rest else "local",
        embedding_dimensions=facts.dimension if facts else None,
    )
