"""Every answer says which corpus, model and way of ranking it comes from."""

from typing import Any

import httpx
import pytest

from tests.integration.conftest import Server

CORPUS = ("x-corpus-digest", "x-corpus-revision", "x-model-namespace", "x-selector")


def origin(answer: httpx.Response) -> dict[str, str]:
    """The headers that say it."""
    return {name: answer.headers[name] for name in CORPUS if name in answer.headers}


@pytest.fixture(scope="module")
def status(server: Server) -> dict[str, Any]:
    told: dict[str, Any] = server.client().get("/status").json()
    return told


@pytest.fixture(scope="module")
def expected(status: dict[str, Any]) -> dict[str, str]:
    return {
        "x-corpus-digest": status["corpus"]["digest"],
        "x-corpus-revision": status["corpus"]["revision"],
        "x-model-namespace": status["model"]["namespace"],
        "x-selector": "dense",
    }


@pytest.mark.parametrize("path", ["/indexed-modules", "/indexed-premises", "/api/search?query=True&results=1"])
def test_what_is_got_from_the_corpus_names_its_origin(server: Server, expected: dict[str, str], path: str) -> None:
    assert origin(server.client().get(path)) == expected


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/retrieve", {"state": "⊢ True", "k": 1}),
        ("/retrieve", {"state": "x", "k": 0}),
        ("/premise-details", {"names": []}),
    ],
)
def test_what_is_asked_of_the_corpus_names_its_origin(
    server: Server, expected: dict[str, str], path: str, body: dict[str, object]
) -> None:
    assert origin(server.client().post(path, json=body)) == expected


def test_a_list_that_the_client_has_already_names_its_origin_too(server: Server, expected: dict[str, str]) -> None:
    tag = server.client().get("/indexed-modules").headers["etag"]
    again = server.client().get("/indexed-modules", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert origin(again) == expected


def test_the_selector_that_a_request_asks_for_is_named(server: Server, expected: dict[str, str]) -> None:
    answer = server.client().post("/retrieve", json={"state": "⊢ True", "k": 1, "selector": "hybrid"})
    assert origin(answer) == expected | {"x-selector": "hybrid"}


def test_a_request_that_cannot_be_used_is_traced_as_well(server: Server, expected: dict[str, str]) -> None:
    answer = server.client().post("/retrieve", json={})
    assert answer.status_code == 422
    assert origin(answer) == expected


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/embeddings", {"input": "x", "model": "demo"}), ("/embed", {"inputs": "x"})]
)
def test_an_embedding_names_its_model_alone(
    server: Server, expected: dict[str, str], path: str, body: dict[str, str]
) -> None:
    answer = server.client().post(path, json=body)
    assert answer.status_code == 200
    assert origin(answer) == {"x-model-namespace": expected["x-model-namespace"]}


def test_what_comes_from_no_corpus_names_none(server: Server) -> None:
    for path in ("/max-new-premises", "/health/live", "/status", "/nothing"):
        assert origin(server.client().get(path)) == {}


def test_status_shows_the_manifest(server: Server, status: dict[str, Any]) -> None:
    manifest = status["corpus"]["manifest"]
    assert manifest["corpus_digest"] == status["corpus"]["digest"]
    assert manifest["namespace"] == status["model"]["namespace"]
    assert manifest["rows"] == status["corpus"]["premises"]
    assert manifest["dimension"] == 384
    assert manifest["unfiltered_rows"] == len(server.client().get("/indexed-premises").json())
    assert manifest["model"] == "demo"
    assert manifest["format_version"] >= 3
    assert len(manifest["digest"]) == 64
    assert manifest["bytes"] > 100_000


def test_status_lists_every_corpus(status: dict[str, Any]) -> None:
    [default] = status["corpora"]
    assert default == status["corpus"]
    assert (default["prefix"], default["state"]) == ("", "ready")


def test_the_document_describes_the_headers(server: Server) -> None:
    paths = server.client().get("/openapi.json").json()["paths"]
    for path, method in (("/retrieve", "post"), ("/indexed-modules", "get"), ("/api/search", "get")):
        assert {name.lower() for name in paths[path][method]["responses"]["200"]["headers"]} >= set(CORPUS)
    assert paths["/v1/embeddings"]["post"]["responses"]["200"]["headers"].keys() == {"X-Model-Namespace"}
    assert "X-Corpus-Digest" in paths["/indexed-modules"]["get"]["responses"]["304"]["headers"]
