"""What the application sees of a path that begins with a corpus's prefix."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from api.corpus_routing import CorpusRouting, RefuseUnknownCorpus
from api.embedding_side import QueueAccess, make_embedding_side
from api.main import create_app
from api.route_table import RouteTable
from api.served_corpus import ServedCorpora, ServedCorpus
from shared.settings import Settings

APP = create_app(Settings())
TABLE = RouteTable(APP)


def corpora_at(*prefixes: str) -> ServedCorpora:
    settings = Settings()
    side = make_embedding_side(settings, settings.catalogue()[0], QueueAccess.of(settings))
    corpora = ServedCorpora(ServedCorpus(side.client, side.directory))
    for prefix in prefixes:
        corpora.add(ServedCorpus(side.client, side.directory, prefix))
    return corpora


def seen(path: str, corpora: ServedCorpora) -> Scope:
    """The scope that gets through to the application."""
    scopes: list[Scope] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        scopes.append(scope)

    asyncio.run(CorpusRouting(application, TABLE)(scope_of(path, corpora), no_message, no_answer))
    return scopes[0]


def scope_of(path: str, corpora: ServedCorpora) -> Scope:
    app = cast("FastAPI", SimpleNamespace(state=SimpleNamespace(service=SimpleNamespace(corpora=corpora))))
    return {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": [], "app": app}


async def no_message() -> Message:
    return {"type": "http.disconnect"}


async def no_answer(_message: Message) -> None: ...


@pytest.mark.parametrize(
    ("sent", "path"),
    [("/v4.32.0/retrieve", "/retrieve"), ("/v4.32.0/", "/"), ("/v4.32.0/v1/models/a/b", "/v1/models/a/b")],
)
def test_a_known_prefix_is_taken_off_and_names_its_corpus(sent: str, path: str) -> None:
    corpora = corpora_at("v4.32.0", "v4.33.0")
    scope = seen(sent, corpora)
    assert scope["path"] == path
    assert scope["state"]["corpus"] is corpora.find("v4.32.0")
    assert scope["raw_path"] == sent.encode()


@pytest.mark.parametrize("path", ["/retrieve", "/", "/v1/embeddings", "/static/page.js", "/api/search", "/v4.32.0"])
def test_a_path_without_a_prefix_stays_as_it_is(path: str) -> None:
    scope = seen(path, corpora_at("v4.32.0"))
    assert scope["path"] == path
    assert "corpus" not in scope.get("state", {})


def test_only_the_first_segment_is_a_prefix() -> None:
    scope = seen("/v4.32.0/v4.33.0/retrieve", corpora_at("v4.32.0", "v4.33.0"))
    assert scope["path"] == "/v4.33.0/retrieve"  # which no route knows


@pytest.mark.parametrize(
    ("known", "advice"),
    [
        (["v4.33.0", "v4.32.0"], "use one of v4.32.0, v4.33.0, or none for the default one"),
        ([], "leave it out"),
    ],
)
def test_an_unknown_prefix_before_a_route_is_told_what_there_is(known: list[str], advice: str) -> None:
    scope = seen("/v4.31.0/indexed-modules", corpora_at(*known))
    assert scope["state"]["unknown_corpus"] == f"No corpus is served at the prefix 'v4.31.0': {advice}."
    assert scope["path"] == "/indexed-modules"


def test_health_at_an_unknown_prefix_is_no_way_around_the_keys() -> None:
    assert seen("/v4.31.0/health/ready", corpora_at("v4.32.0"))["path"] == "/v4.31.0/health/ready"
    assert seen("//health", corpora_at("v4.32.0"))["path"] == "//health"


def test_an_unknown_prefix_before_nothing_that_is_served_is_left_to_the_router() -> None:
    scope = seen("/wp-admin/setup.php", corpora_at("v4.32.0"))
    assert (scope["path"], scope["state"]) == ("/wp-admin/setup.php", {})


def test_an_unknown_prefix_is_answered_in_the_form_of_the_path_behind_it() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of("/v4.31.0/v1/embeddings", corpora_at())
    asyncio.run(CorpusRouting(RefuseUnknownCorpus(CorpusRouting(APP, TABLE)), TABLE)(scope, no_message, send))
    start, body = sent
    assert start["status"] == 404
    assert body["body"].startswith(b'{"error":{"message":"No corpus is served')


def test_a_corpus_that_is_removed_is_found_no_more() -> None:
    corpora = corpora_at("v4.32.0", "v4.33.0")
    corpora.remove("v4.32.0")
    assert corpora.find("v4.32.0") is None
    assert [corpus.prefix for corpus in corpora.all()] == ["", "v4.33.0"]
