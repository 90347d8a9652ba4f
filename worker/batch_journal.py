"""Notes which texts enter the model, so that one whose batch kills the worker is known to the next worker.

A text is counted before its batch starts and forgotten when its result is written (`worker/vector_store.py` does that
in the same pipeline).  What stays was in a batch that never ended: such a text goes alone from then on, and after
`MOST_ATTEMPTS` batches it is not tried again.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import redis

from shared.redis_client import RedisError, attempts_key

MOST_ATTEMPTS = 3
MOST_NOTED_TEXTS = 100_000
PAUSE_SECONDS = 5.0

BEGIN = """
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then redis.call('DEL', KEYS[1]) end
for i = 2, #ARGV do redis.call('HINCRBY', KEYS[1], ARGV[i], 1) end
"""

log = logging.getLogger(__name__)


class BatchJournal(Protocol):
    """Where the batching queue notes what it is about to do."""

    def begin(self, keys: Sequence[str]) -> None:
        """A batch of these texts, by content hash, is about to enter the model."""
        ...


class NoJournal:
    """Notes nothing: for a model that is not shared with other processes."""

    def begin(self, keys: Sequence[str]) -> None:
        """Do nothing."""


@dataclass
class RedisBatchJournal:
    """`BatchJournal` on Redis.  A Redis that is away costs a batch its note, never the batch."""

    client: redis.Redis
    """One that gives up soon: the model waits for it."""
    namespace: str
    clock: Callable[[], float] = time.monotonic
    _silent_until: float = field(default=0.0, init=False)

    def begin(self, keys: Sequence[str]) -> None:
        """Count the texts; after a failure nothing is noted for some seconds."""
        if self.clock() < self._silent_until:
            return
        try:
            self.client.eval(BEGIN, 1, attempts_key(self.namespace), MOST_NOTED_TEXTS, *keys)
        except RedisError as error:
            log.warning("the batch journal cannot be written (%s); going on without", type(error).__name__)
            self._silent_until = self.clock() + PAUSE_SECONDS
