"""Keys and other origins as a real browser has them, at one API process without Redis and corpus."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Error, HttpCredentials

from tests.browser import running_browser
from tests.free_ports import free_port
from tests.processes import running_api

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
ASK_WITH_KEY = """async ([url, key]) => {
  const answer = await fetch(url, { headers: { Authorization: `Bearer ${key}` } });
  return [answer.status, answer.headers.get("X-Request-ID") !== null];
}"""


@dataclass(frozen=True)
class Site:
    """The API, and pages that are not its own: of an origin that may ask it, and of one that may not."""

    url: str
    friend: str
    stranger: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("browser")
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as pages:
        thread = threading.Thread(target=pages.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        friend = f"http://127.0.0.1:{pages.server_port}"
        settings = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "DATA_DIR": str(folder)}
        keys = {"API_KEYS": KEY, "CORS_ORIGINS": friend}
        with running_api(folder / "api.log", settings | keys, ready=False) as url:
            yield Site(url, friend, f"http://localhost:{pages.server_port}")
        pages.shutdown()
        thread.join()


class Pages(SimpleHTTPRequestHandler):
    """An empty page at every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def test_a_browser_that_was_told_a_key_opens_the_page_and_all_that_it_asks_for(browser: Browser, site: Site) -> None:
    with browser.new_context(http_credentials=HttpCredentials(username="anyone", password=KEY)) as context:
        page = context.new_page()
        statuses: list[int] = []
        page.on("response", lambda response: statuses.append(response.status))
        page.goto(site.url, wait_until="networkidle")
        assert len(statuses) > 3
        assert 401 not in statuses


def test_a_browser_without_one_would_ask_for_it(browser: Browser, site: Site) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):  # headless, it has nobody to ask
            page.goto(site.url)


def test_a_page_of_a_listed_origin_asks_with_a_key_and_reads_headers(browser: Browser, site: Site) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site.friend)
        asked = f"{site.url}/max-new-premises"
        assert page.evaluate(ASK_WITH_KEY, [asked, KEY]) == [200, True]
        assert page.evaluate(ASK_WITH_KEY, [asked, "wrong"]) == [401, True]


def test_a_page_of_another_origin_is_kept_out_by_the_browser(browser: Browser, site: Site) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site.stranger)
        caught = page.evaluate(f"(given) => ({ASK_WITH_KEY})(given).catch(error => error.name)", [site.url, KEY])
        assert caught == "TypeError"
