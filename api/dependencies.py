"""What a route gets from its process, by FastAPI's dependency injection.

All are coroutines: FastAPI would call plain functions in a thread, which costs more than everything they do.
"""

from typing import Annotated, cast

from fastapi import Depends, Request

from api.provenance import Provenance
from api.retrieval import Retriever, StageTimes
from api.served_corpus import ServedCorpus
from api.service import Service


async def get_service(request: Request) -> Service:
    """The process's parts, made by the lifespan."""
    return cast("Service", request.app.state.service)


async def get_corpus(request: Request) -> ServedCorpus:
    """The corpus that the path's prefix names (`api/corpus_routing.py`), the default one without a prefix."""
    named = getattr(request.state, "corpus", None)
    return cast("ServedCorpus", named or (await get_service(request)).corpora.default)


async def get_retriever(request: Request) -> Retriever:
    """The corpus's retriever, which the answer's headers name; `NotReadyError` while it is still loading."""
    corpus = await get_corpus(request)
    retriever = corpus.require_retriever()
    request.state.provenance = Provenance.of_corpus(retriever, corpus.directory)
    return retriever


async def get_request_id(request: Request) -> str:
    """The request's id, taken from the client or made."""
    return cast("str", request.state.request_id)


async def get_stages(request: Request) -> StageTimes:
    """Where the request's stage times are noted."""
    return cast("StageTimes", request.state.stages)


CurrentService = Annotated[Service, Depends(get_service)]
CurrentCorpus = Annotated[ServedCorpus, Depends(get_corpus)]
CurrentRetriever = Annotated[Retriever, Depends(get_retriever)]
RequestId = Annotated[str, Depends(get_request_id)]
Stages = Annotated[StageTimes, Depends(get_stages)]
