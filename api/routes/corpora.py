"""Which corpora are served, at which prefixes; operators add and remove them while the server runs."""

from fastapi import APIRouter, Request, Response

from api.access_control import require_operator
from api.api_keys import ApiKeys
from api.corpora_schema import ChangedCorpus, ListedCorpora
from api.corpora_status import list_corpora
from api.dependencies import CurrentService
from api.errors import documented_body, documented_errors, json_response
from api.json_body import LARGE_BODY_BYTES, read_object, validated
from shared.corpus_source import CorpusSource
from shared.errors import PayloadTooLargeError
from shared.redis_client import RedisError, redis_away
from shared.wanted_corpora import WantedCorpus, add_corpus, remove_corpus

ACCEPTED = 202


def make_router(operators: ApiKeys | None) -> APIRouter:
    """The routes; `operators` are the keys of who may change what is served, None: nobody may."""
    router = APIRouter(tags=["corpora"])

    @router.get("/corpora", response_model=ListedCorpora)
    async def list_all(service: CurrentService) -> Response:
        """Every corpus with its prefix, digest and state, here and in the other replicas; also while Redis is away."""
        return json_response((await list_corpora(service)).model_dump())

    @router.put(
        "/corpora/{prefix}",
        status_code=ACCEPTED,
        response_model=ChangedCorpus,
        responses=documented_errors(403, 408, 409, 413, 422, 429, 503),
        openapi_extra=documented_body(CorpusSource.model_json_schema()),
    )
    async def add(prefix: str, request: Request, service: CurrentService) -> Response:
        """Serve a further corpus at `/{prefix}/…`; wants an operator's key. Adding the same again changes nothing."""
        require_operator(operators, request.headers)
        source = _read_source(await request.body()).at(service.settings.data_repo)
        try:
            changed = await add_corpus(service.side.client, WantedCorpus.now(prefix, source, "endpoint"))
        except RedisError as error:
            raise redis_away(error) from error
        return _answer(prefix, wanted=True, changed=changed)

    @router.delete(
        "/corpora/{prefix}",
        status_code=ACCEPTED,
        response_model=ChangedCorpus,
        responses=documented_errors(403, 404, 503),
    )
    async def remove(prefix: str, request: Request, service: CurrentService) -> Response:
        """Serve it no more; wants an operator's key. Requests that are being answered from it are answered."""
        require_operator(operators, request.headers)
        try:
            await remove_corpus(service.side.client, prefix)
        except RedisError as error:
            raise redis_away(error) from error
        return _answer(prefix, wanted=False, changed=True)

    return router


def _read_source(body: bytes) -> CorpusSource:
    if len(body) > LARGE_BODY_BYTES:
        raise PayloadTooLargeError(f"The body is larger than {LARGE_BODY_BYTES} bytes: name one corpus in it.")
    return validated(CorpusSource, read_object(body))


def _answer(prefix: str, *, wanted: bool, changed: bool) -> Response:
    return json_response(ChangedCorpus(prefix=prefix, wanted=wanted, changed=changed).model_dump(), ACCEPTED)
