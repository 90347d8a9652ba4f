"""A job on its way, as the replica that enqueued it sees it, and the waiting for its texts."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from shared.embedding_cache import CachedVector
from shared.errors import PremiseServerError
from shared.messages import EmbedJob


@dataclass(eq=False)
class AwaitedJob:
    """A job on its way, what is known of each of its texts, and a count of the requests that wait for it.

    Requests wait for the job's next change, not for each text: two thousand futures a request would cost more than all
    else that the request costs here.
    """

    job: EmbedJob
    results: dict[str, CachedVector | PremiseServerError | None]
    """By content hash; None: not known yet."""
    published_at: float
    deadline: float
    waiters: int = 0
    finished: bool = False
    """Its worker has said so, and has released its lease."""
    missing_since: float | None = None
    """Since when it was seen on no queue and with no worker (monotonic seconds)."""
    _next_change: asyncio.Future[None] | None = None

    def outstanding(self) -> list[str]:
        """Content hashes without a result."""
        return [key for key, result in self.results.items() if result is None]

    def settle(self, results: Mapping[str, CachedVector | PremiseServerError]) -> None:
        """Take in results of texts that have none yet, and wake who waits."""
        self.results.update({key: result for key, result in results.items() if self.results.get(key, result) is None})
        if results and self._next_change is not None and not self._next_change.done():
            self._next_change.set_result(None)

    def next_change(self) -> asyncio.Future[None]:
        """Done when further results have come."""
        if self._next_change is None or self._next_change.done():
            self._next_change = asyncio.get_running_loop().create_future()
        return self._next_change


async def settled(places: Mapping[str, AwaitedJob], until: float, *, stop_at_failure: bool = True) -> None:
    """Wait until each text has a result in its job, one of them has failed, or the time (epoch seconds) has come."""
    waited_for = list(places.items())
    while (left_seconds := until - time.time()) > 0:
        results = [(key, job, job.results[key]) for key, job in waited_for]
        if stop_at_failure and any(isinstance(result, PremiseServerError) for _, _, result in results):
            return
        waited_for = [(key, job) for key, job, result in results if result is None]
        if not waited_for:
            return
        changes = {job.next_change() for _, job in waited_for}
        await asyncio.wait(changes, timeout=left_seconds, return_when=asyncio.FIRST_COMPLETED)
