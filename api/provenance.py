"""What an answer came from, as its response headers tell it: corpus, model and the way of ranking.

A route that answers from a corpus or a model notes its origin in the request's state; `api/request_log.py` writes the
headers, so that 304 and error answers have them too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from api.retrieval import Retriever
from api.worker_directory import WorkerDirectory

DIGEST_HEADER = "X-Corpus-Digest"
REVISION_HEADER = "X-Corpus-Revision"
NAMESPACE_HEADER = "X-Model-Namespace"
SELECTOR_HEADER = "X-Selector"

PROVENANCE_HEADERS = (DIGEST_HEADER, REVISION_HEADER, NAMESPACE_HEADER, SELECTOR_HEADER)

_MEANINGS = {
    DIGEST_HEADER: "of the corpus's names and their order",
    REVISION_HEADER: "of the corpus, percent-encoded where need be",
    NAMESPACE_HEADER: "the embedding space: weights, tokenizer and all else that decides a vector",
    SELECTOR_HEADER: "what ranked the answer; of an answer that holds no ranking, what ranks by default",
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an answer comes from."""

    directory: WorkerDirectory
    """Of the model; it knows the namespace once a worker has been seen."""
    namespace: str | None = None
    """Of a corpus's vectors, where their maker said it."""
    corpus_digest: str = ""
    """Empty: no corpus takes part."""
    revision: str = ""
    default_selector: str = ""

    @classmethod
    def of_corpus(cls, retriever: Retriever, directory: WorkerDirectory) -> Self:
        """Of answers from a corpus; `directory` knows the model of its vectors where their maker did not say."""
        manifest = retriever.snapshot.manifest
        return cls(
            directory, manifest.namespace, manifest.corpus_digest, manifest.revision, retriever.selectors.default
        )

    def headers(self, selector: str | None) -> Mapping[str, str]:
        """The headers of an answer that `selector` ranked, if it holds a ranking."""
        named = {
            DIGEST_HEADER: self.corpus_digest,
            REVISION_HEADER: quote(self.revision, safe="+:@/ "),
            NAMESPACE_HEADER: self.namespace or self.directory.pinned_namespace or "",
            SELECTOR_HEADER: selector or self.default_selector,
        }
        return {name: value for name, value in named.items() if value}


Responses = Mapping[int | str, dict[str, Any]]


def of_corpus(responses: Responses) -> dict[int | str, dict[str, Any]]:
    """The responses of a route, for the OpenAPI document, with the headers of what is answered from a corpus."""
    return _with_headers(responses, PROVENANCE_HEADERS)


def of_model(responses: Responses) -> dict[int | str, dict[str, Any]]:
    """The same for what a model alone answers."""
    return _with_headers(responses, (NAMESPACE_HEADER,))


def _with_headers(responses: Responses, names: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    told = {name: {"description": _MEANINGS[name], "schema": {"type": "string"}} for name in names}
    described: dict[int | str, dict[str, Any]] = {200: {}, **responses}
    for status in described.keys() & {200, 304}:
        described[status] = {**described[status], "headers": described[status].get("headers", {}) | told}
    return described
