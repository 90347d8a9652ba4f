"""What the page shows of premises beside their names."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from api.dependencies import CurrentRetriever, Stages
from api.errors import documented_body, documented_errors, json_response
from api.json_body import LARGE_BODY_BYTES, read_object, validated
from api.premise_details import PremiseDetails, find_details
from api.provenance import of_corpus
from shared.errors import InvalidRequestError, PayloadTooLargeError

router = APIRouter(tags=["premises"])


class DetailsRequest(BaseModel):
    """Body of `/premise-details`."""

    names: list[str] = Field(description="full names, at most MAX_K of them")


class DetailsSchema(BaseModel):
    """A premise of the corpus."""

    name: str
    module: str
    kind: str = Field(description="`theorem`, `def`, `instance`, …")
    signature: str = Field(description="what stands behind the name in its declaration")
    formal_type: str = Field(description="its type as a Lean term")
    documentation: str | None = Field(description="where Mathlib's documentation has it; null for other packages")


@router.post(
    "/premise-details",
    response_model=list[DetailsSchema | None],
    responses=of_corpus(documented_errors(408, 413, 422, 429, 503)),
    openapi_extra=documented_body(DetailsRequest.model_json_schema()),
)
async def premise_details(request: Request, retriever: CurrentRetriever, stages: Stages) -> Response:
    """Module, kind, statement and documentation of premises, in the order of their names; null for unknown ones."""
    names = _read_names(await request.body(), retriever.limits.max_k)
    with stages.timing("details"):
        found = await find_details(retriever, names)
    return json_response([details and _as_json(details) for details in found])


def _read_names(body: bytes, max_names: int) -> list[str]:
    if len(body) > LARGE_BODY_BYTES:
        raise PayloadTooLargeError(f"The body is larger than {LARGE_BODY_BYTES} bytes: ask for fewer names at a time.")
    names = validated(DetailsRequest, read_object(body)).names
    if len(names) > max_names:
        raise InvalidRequestError(f"A request asks for at most {max_names} names; ask for the others in further ones.")
    return names


def _as_json(details: PremiseDetails) -> dict[str, str | None]:
    return {
        "name": details.name,
        "module": details.module,
        "kind": details.statement.kind,
        "signature": details.statement.signature,
        "formal_type": details.statement.formal_type,
        "documentation": details.documentation,
    }
