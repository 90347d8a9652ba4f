"""What Redis holds and this version cannot read, as of a later version: it is left out, hides no other, and is told."""

import logging
from functools import lru_cache

from pydantic import ValidationError

MOST_REMEMBERED = 256
"""Faults that are told once; of more than these the oldest may be told again."""

log = logging.getLogger(__name__)


def tell_unreadable(entry: str, error: Exception) -> None:
    """Log once that an entry is left out, and what is wrong with it."""
    _tell(entry, _fault(error))


@lru_cache(MOST_REMEMBERED)
def _tell(entry: str, fault: str) -> None:
    log.warning("%s in Redis cannot be read by this version and is left out: %s", entry, fault)


def _fault(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}"
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
