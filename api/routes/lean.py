"""The four endpoints of Lean clients (curl from premise-selection, lean-lsp-mcp)."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from api.conditional_response import CONDITIONAL_PARAMETERS, CONDITIONAL_RESPONSES, conditional_response
from api.dependencies import CurrentRetriever, CurrentService, RequestId, Stages
from api.disconnect import unless_disconnected
from api.errors import documented_body, documented_errors, json_response
from api.json_body import parsed
from api.provenance import of_corpus
from api.schemas import RankedPremiseSchema, parse_retrieve_request, retrieve_request_schema

router = APIRouter(tags=["Lean"])

MAX_STATES_IN_DOCUMENT = 64
PARTIAL_HEADER = "X-Partial-Results"
"""New premises that took part / new premises of the request; only where some did not (PARTIAL_RESULTS)."""

RETRIEVE_BODY = documented_body(retrieve_request_schema(MAX_STATES_IN_DOCUMENT))

READY_LIST: dict[str, Any] = {
    "responses": {**of_corpus(CONDITIONAL_RESPONSES), **documented_errors(503)},
    "openapi_extra": CONDITIONAL_PARAMETERS,
}

Ranking = list[RankedPremiseSchema]


@router.post(
    "/retrieve",
    openapi_extra=RETRIEVE_BODY,
    response_model=Ranking | list[Ranking],
    responses=of_corpus(documented_errors(408, 413, 422, 429, 503, 504)),
)
async def retrieve(
    request: Request, service: CurrentService, retriever: CurrentRetriever, request_id: RequestId, stages: Stages
) -> Response:
    """The premises that help at a goal state, best first, at most `k`."""
    body = await request.body()
    with service.room.place_for(body) as place:
        with stages.timing("parse"):
            parse = partial(parse_retrieve_request, max_states=retriever.limits.max_states)
            query = await parsed(body, parse, service.parsers)
        work = retriever.retrieve(query, request_id=request_id, stages=stages, on_admitted=place.leave)
        rankings = await unless_disconnected(request, work)
    answers = [[premise.as_json() for premise in ranking] for ranking in rankings]
    headers = {PARTIAL_HEADER: "{}/{}".format(*stages.partial)} if stages.partial else None
    return json_response(answers if query.many_states else answers[0], headers=headers)


@router.get("/max-new-premises", response_model=int)
async def max_new_premises(service: CurrentService) -> Response:
    """How many new premises of a request are looked at."""
    return json_response(service.settings.max_new_premises)


@router.head("/indexed-premises", response_class=Response, **READY_LIST)
@router.get("/indexed-premises", response_model=list[str], **READY_LIST)
async def indexed_premises(request: Request, retriever: CurrentRetriever) -> Response:
    """Names in corpus order before the filters: an integer in `local_premises` is an index into this array."""
    return conditional_response(request, retriever.snapshot.indexed_premises)


@router.head("/indexed-modules", response_class=Response, **READY_LIST)
@router.get("/indexed-modules", response_model=list[str], **READY_LIST)
async def indexed_modules(request: Request, retriever: CurrentRetriever) -> Response:
    """Module names, sorted: an integer in `imported_modules` is an index into this array."""
    return conditional_response(request, retriever.snapshot.indexed_modules)
