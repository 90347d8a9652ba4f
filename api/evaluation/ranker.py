"""What ranks premises for an evaluation: a server that is asked over HTTP, or a retriever in this process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import orjson

from api.evaluation.accessible_premises import AccessiblePremises
from api.evaluation.run import Answerer
from shared.errors import DeadlineExceededError, NotReadyError, OverloadedError, PremiseServerError

Ranking = list[str]
"""Names, best first."""

TRIES = 20
FIRST_TRIES = 4
"""Before the first answer: whoever has just started the command is there to read what is wrong."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
BUSY = (OverloadedError, NotReadyError, DeadlineExceededError)
"""Worth another try: too much to do, a part is away, or the deadline passed (what was embedded by then is kept)."""

Answer = TypeVar("Answer")


class QueryRefusedError(PremiseServerError):
    """The server will not rank this query; the others may do."""


@dataclass(frozen=True, slots=True)
class RankingRequest:
    """States whose accessible premises are the same."""

    states: Sequence[str]
    accessible: AccessiblePremises
    k: int
    selector: str | None = None
    """None: whatever the server takes by itself."""

    def body(self) -> bytes:
        """The body of `/retrieve` as clients write it: positions, keys in order, one state as a string."""
        fields: dict[str, object] = {
            "imported_modules": self.accessible.imported_modules,
            "k": self.k,
            "local_premises": self.accessible.local_premises,
            "state": self.states[0] if len(self.states) == 1 else list(self.states),
        }
        if self.selector is not None:
            fields["selector"] = self.selector
        return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS)


class Ranker(Protocol):
    """Ranks premises for states."""

    @property
    def answerer(self) -> Answerer:
        """Who ranks, by its own words."""
        ...

    async def rank(self, request: RankingRequest) -> list[Ranking]:
        """A ranking for each state; tries again while the server is busy.

        Raises `QueryRefusedError` where the server will not rank these states, and other errors where it is of no use
        to go on.
        """
        ...


async def patiently(
    attempt: Callable[[], Awaitable[Answer]],
    *,
    tries: int = TRIES,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Answer:
    """Try until it works; between tries wait as long as the server says, or longer each time."""
    for tried in range(tries - 1):
        try:
            return await attempt()
        except BUSY as error:
            told = error.retry_after_seconds if isinstance(error, OverloadedError) else 0
            await sleep(min(told or FIRST_PAUSE_SECONDS * 2**tried, LONGEST_PAUSE_SECONDS))
    return await attempt()
