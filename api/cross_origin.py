"""Which web pages of other origins may call the API from a browser (CORS): none, unless the settings name them."""

import re

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.provenance import PROVENANCE_HEADERS
from shared.errors import SettingsError

READABLE_HEADERS = ["X-Request-ID", "Server-Timing", "Retry-After", "X-Partial-Results", *PROVENANCE_HEADERS]
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s*@?#]+", re.ASCII)


def parse_origins(origins: str) -> list[str]:
    """The origins of a comma separated list; raises `SettingsError` for what no browser would send."""
    listed = [origin.strip().lower() for origin in origins.split(",") if origin.strip()]
    for origin in listed:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"CORS_ORIGINS: {origin!r} is no origin: write scheme, host and port alone, as in "
                "https://example.org:8443, or * for all."
            )
    return listed


def allow_origins(app: FastAPI, origins: list[str]) -> None:
    """Let pages of these origins call the API and read its answers, whatever headers they send."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=READABLE_HEADERS,
    )
