"""Headless Chromium for tests of the page, where one is installed: nothing is downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.embedding_fakes import PATIENCE_SECONDS, wait_until

PATIENCE_MILLISECONDS = 1000 * PATIENCE_SECONDS
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
FAILED_REQUEST = "Failed to load resource"
"""What Chromium itself writes on its console about an answer that is no success."""


def find_browser() -> str | None:
    """Path of a browser: what CHROMIUM_PATH names, else the first that is on PATH."""
    return os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser for the length of a block; skips the test where there is none."""
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium or Chrome is installed (apt-get install chromium), and CHROMIUM_PATH names none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=PATIENCE_MILLISECONDS)
        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page in a context of its own, and all that went wrong in it."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    failed_requests: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """Requests to other origins."""
    asked: list[str] = field(default_factory=list)
    """Addresses asked for, below the origin."""

    def __post_init__(self) -> None:
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._note_request)

    def wait_for_failed_request(self) -> None:
        """Until the console has told of one; whatever is asked of the page lets its messages in."""
        wait_until(lambda: self.page.title() is not None and self.failed_requests)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            (self.failed_requests if FAILED_REQUEST in message.text else self.errors).append(message.text)

    def _note_request(self, request: Request) -> None:
        (self.asked if request.url.startswith(self.origin) else self.elsewhere).append(
            request.url.removeprefix(self.origin)
        )


@contextmanager
def visiting(browser: Browser, origin: str, **context: Any) -> Iterator[Visit]:  # noqa: ANN401 - Playwright's options
    """A visit, which must end without an error on the console and without a request to anywhere else."""
    opened = browser.new_context(**context)
    try:
        opened.set_default_timeout(PATIENCE_MILLISECONDS)
        visit = Visit(opened.new_page(), origin)
        yield visit
        assert visit.errors == []
        assert visit.elsewhere == []
    finally:
        opened.close()
