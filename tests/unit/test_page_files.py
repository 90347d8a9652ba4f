import asyncio
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.page_files import PageFiles
from api.routes.page import make_router

STATIC = Path(__file__).parents[2] / "api" / "static"
FILES = sorted(path.name for path in STATIC.iterdir())


def get(path: str, method: str = "GET", **headers: str) -> httpx.Response:
    app = FastAPI()
    app.include_router(make_router(PageFiles.load()))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(ask())


def test_the_root_is_the_page() -> None:
    response = get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.content == (STATIC / "index.html").read_bytes()


@pytest.mark.parametrize("path", ["/", *(f"/static/{name}" for name in FILES)])
def test_nothing_but_this_server_may_be_loaded_run_or_asked(path: str) -> None:
    response = get(path)
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_browser_that_has_a_file_is_told_so() -> None:
    first = get("/static/page.js", **{"Accept-Encoding": "gzip"})
    again = get("/static/page.js", **{"Accept-Encoding": "gzip", "If-None-Match": first.headers["etag"]})
    assert first.headers["content-encoding"] == "gzip"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


def test_a_head_gets_the_headers_alone() -> None:
    head, whole = get("/", "HEAD"), get("/")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", whole.headers["etag"])


@pytest.mark.parametrize("path", ["/static/", "/static/other.js", "/static/..%2fmain.py", "/static/../main.py"])
def test_no_other_file_is_given_away(path: str) -> None:
    assert get(path).status_code == 404


@pytest.mark.parametrize("name", FILES)
def test_no_file_holds_inline_code_or_an_address_from_its_root(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.search(r"\son\w+=|style=|<script>|<style|innerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert not re.search(r"""(?:src|href|from|import\(|fetch\(|ask\()\s*[=(]?\s*["'`](?:/|https?:)""", text)
