"""Which names corpora may have: each is the first segment of a URL path, `/v4.33.0/retrieve`."""

import re

from shared.errors import InvalidRequestError

LONGEST_PREFIX = 64
PREFIX = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_PREFIX - 1}}}", re.ASCII)

OWN_SEGMENTS = frozenset(
    {
        "api", "corpora", "embed", "health", "indexed-modules", "indexed-premises", "max-new-premises", "metrics",
        "openapi.json", "premise-details", "queue", "retrieve", "static", "status", "v1",
    }
)  # fmt: skip
"""First segments of the server's own paths, which no corpus may hide; a test compares them with the routes."""

KEPT_SEGMENTS = frozenset({"admin", "default", "docs", "favicon.ico", "metrics.json", "redoc", "robots.txt", "v2"})
"""What clients and browsers look for by themselves, or a later version may serve."""


def check_prefix(prefix: str) -> str:
    """The prefix; raises `InvalidRequestError`, which says what to take instead, for one that cannot be served."""
    if not PREFIX.fullmatch(prefix):
        raise InvalidRequestError(
            f"{prefix[:LONGEST_PREFIX]!r} cannot be a prefix: take 1 to {LONGEST_PREFIX} letters, digits, '.', '_' and "
            "'-' of ASCII, a letter or digit first, as in v4.33.0."
        )
    if prefix.lower() in OWN_SEGMENTS | KEPT_SEGMENTS:
        raise InvalidRequestError(f"{prefix!r} cannot be a prefix: it is kept for the server's own paths.")
    return prefix
