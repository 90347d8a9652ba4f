"""The API process: `create_app` makes the application, `python -m api.main` serves it."""

import logging
import os
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import faiss
import uvicorn
from fastapi import FastAPI

from api.access_control import RequireKey, document_keys
from api.api_keys import ApiKeys, operator_keys
from api.body_intake import BodyIntake, BodyRoom
from api.corpus_routing import RefuseUnknownCorpus, route_corpora
from api.cross_origin import allow_origins, parse_origins
from api.errors import install_error_handlers
from api.metrics import Metrics, check_multiprocess_folder
from api.page_files import PageFiles
from api.process_group import ServerOptions, end_with_parent, run_process_group
from api.request_count import count_requests
from api.request_head import BoundedHeadProtocol
from api.request_log import RequestFields, RequestLog
from api.route_table import RouteTable
from api.routes import corpora, lean, openai, operations, page, premises, state_search, tei
from api.service import running_service
from api.unread_body import UnreadBody
from shared.configuration import shown_configuration
from shared.errors import PremiseServerError
from shared.log_setup import set_up_logging
from shared.settings import Settings, load_settings

GRACEFUL_STOP_SECONDS = 10
KEEP_ALIVE_SECONDS = 75
"""Longer than most clients (5 to 30) and proxies (nginx: 60) keep an idle connection: where the server is the first to
close one, a request that is just being sent on it gets no answer."""

log = logging.getLogger("api")


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings; nothing connects before its lifespan starts.

    Raises `SettingsError` for keys or origins that cannot be used.
    """

    room = BodyRoom(settings.max_bodies_bytes, settings.max_large_bodies)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        faiss.omp_set_num_threads(1)  # one query is one thread; requests run side by side
        async with running_service(settings, room, metrics) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="Lean premise server",
        version=version("lean-premise-server"),
        description="Premise selection for Lean: which lemmas help at this goal?",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # these pages load scripts from elsewhere; /openapi.json is there for tools
        redoc_url=None,
    )
    install_error_handlers(app)
    app.add_middleware(RefuseUnknownCorpus)
    app.add_middleware(
        BodyIntake,
        room=room,
        max_body_bytes=settings.max_body_bytes,
        timeout_seconds=settings.retrieve_timeout_seconds,
    )
    operators = operator_keys(settings)
    if keys := ApiKeys.from_settings(settings):
        app.add_middleware(RequireKey, keys=keys, operators=operators)
        document_keys(app)
    if origins := parse_origins(settings.cors_origins):
        allow_origins(app, origins)  # around the keys: a browser asks without one whether it may send one
    app.add_middleware(RequestLog)
    app.include_router(lean.router)
    app.include_router(state_search.router)
    app.include_router(premises.router)
    app.include_router(openai.router)
    app.include_router(tei.router)
    app.include_router(operations.router)
    app.include_router(corpora.make_router(operators))
    app.include_router(page.make_router(PageFiles.load()))
    app.state.routes = RouteTable(app)
    count_requests(app, metrics.requests, wants_key=keys is not None)
    # around all others: neither the log nor a count waits for what is thrown away
    app.add_middleware(UnreadBody, timeout_seconds=settings.retrieve_timeout_seconds)
    route_corpora(app)
    return app


def main() -> None:
    """Serve until SIGTERM or SIGINT; exits with 2 and a sentence where the settings cannot be used."""
    try:
        settings = load_settings()
        check_multiprocess_folder()
        app = create_app(settings)
    except PremiseServerError as error:
        print(f"The API cannot start: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        sys.exit(2)
    set_up_logging(settings, RequestFields())
    log.info("the API starts with %(configuration)s", {"configuration": shown_configuration(settings, os.environ)})
    if settings.api_processes == 1:
        uvicorn.run(app, **server_options(settings))
    else:
        run_process_group("api.main:create_app_of_group", settings.api_processes, server_options(settings))


def server_options(settings: Settings) -> ServerOptions:
    """What uvicorn is told, however many processes serve."""
    return ServerOptions(
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACEFUL_STOP_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
        http=BoundedHeadProtocol,
        ws="none",  # it has no use here, asks for no key, and logs the headers of a handshake at DEBUG
    )


def create_app_of_group() -> FastAPI:
    """The application of one of several processes, whose parent has read and checked the same settings.

    What has become unusable since, as a file of keys that is gone, ends the process; its parent tries again.
    """
    end_with_parent()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parent has warned
        settings = load_settings()
    set_up_logging(settings, RequestFields())
    try:
        return create_app(settings)
    except PremiseServerError as error:
        log.critical("this API process cannot start: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
