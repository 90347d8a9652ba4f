"""LeanStateSearch's protocol, which `#statesearch` of LeanSearchClient and lean-lsp-mcp speak.

Both clients name a revision (the user's Lean version, or one that is built in) whether or not the server has it.  There
is one corpus here: it answers, and says its own revision with every premise.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from api.dependencies import CurrentRetriever, RequestId, Stages
from api.disconnect import unless_disconnected
from api.errors import MEANING_OF_STATUS, json_response
from api.premise_details import find_details
from api.provenance import of_corpus
from api.schemas import RetrieveRequest
from shared.errors import InvalidRequestError

router = APIRouter(tags=["LeanStateSearch"])

CLIENTS_OWN_RESULTS = "6"
"""What `#statesearch` asks for when its user says nothing."""


class FoundPremise(BaseModel):
    """One premise of the answer."""

    name: str
    formal_type: str = Field(description="its type as a Lean term")
    module: str
    rev: str = Field(description="revision of the corpus that it is from")


class SearchErrorSchema(BaseModel):
    """Body of every answer that is not a success; clients show `error` and `description`."""

    error: str
    schema_: dict[str, str] = Field(alias="schema", description="`description`: one sentence that says what to do")


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": SearchErrorSchema, "description": "the request cannot be used"},
    **{status: {"model": SearchErrorSchema, "description": MEANING_OF_STATUS[status]} for status in (429, 503, 504)},
}


@router.get("/api/search", response_model=list[FoundPremise], responses=of_corpus(ERRORS))
async def search(
    request: Request,
    retriever: CurrentRetriever,
    request_id: RequestId,
    stages: Stages,
    query: Annotated[str, Query(description="the pretty-printed goal")] = "",
    results: Annotated[str, Query(description="how many premises are wanted")] = CLIENTS_OWN_RESULTS,
    rev: Annotated[str, Query(description="not read: the answer says the revision of the corpus")] = "",
) -> Response:
    """The premises of the whole corpus that help at a goal state, best first."""
    asked = RetrieveRequest(state=_check_query(query), k=_read_number(results))
    await request.body()
    work = retriever.retrieve(asked, request_id=request_id, stages=stages)
    [ranking] = await unless_disconnected(request, work)
    with stages.timing("details"):
        details = await find_details(retriever, [premise.name for premise in ranking])
    revision = retriever.snapshot.manifest.revision
    return json_response(
        [
            {"name": found.name, "formal_type": found.statement.formal_type, "module": found.module, "rev": revision}
            for found in details
            if found
        ]
    )


def _check_query(query: str) -> str:
    if not query.strip():
        raise InvalidRequestError("The parameter 'query' is missing: give the pretty-printed goal in it.")
    return query


def _read_number(results: str) -> int:
    try:
        return int(results)
    except ValueError:
        raise InvalidRequestError("The parameter 'results' must be an integer: how many premises are wanted.") from None
