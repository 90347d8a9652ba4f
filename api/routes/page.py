"""The page at `/`: its files, with headers that let nothing else in."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from api.conditional_response import conditional_response
from api.page_files import PageFiles

INDEX = "index.html"

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Scripts, styles and requests of this server alone; nothing inline, no frame around it."""

BY_GET_AND_HEAD: dict[str, Any] = {"methods": ["GET", "HEAD"], "include_in_schema": False}


def make_router(page_files: PageFiles) -> APIRouter:
    """Routes of the page.  Its addresses are relative, so that it works behind any prefix that ends in a slash."""
    router = APIRouter(tags=["page"])

    def answer(request: Request, name: str) -> Response:
        file = page_files.by_name.get(name)
        if file is None:
            raise HTTPException(404)
        return conditional_response(request, file.answer, media_type=file.media_type, headers=SECURITY_HEADERS)

    @router.api_route("/", **BY_GET_AND_HEAD)
    async def index(request: Request) -> Response:
        """The page."""
        return answer(request, INDEX)

    @router.api_route("/static/{name}", **BY_GET_AND_HEAD)
    async def static_file(request: Request, name: str) -> Response:
        """What the page consists of."""
        return answer(request, name)

    return router
