"""Notes which texts are in the model, so that those whose batch ended the worker are known to the next worker.

Each worker has one note, of its latest batches.  When its heartbeat has ended and its note still stands, its texts are
counted by whoever looks (`worker/vector_store.py`), and a text's count is forgotten when its result is written.  So
what is counted was in a batch that never ended: such a text goes alone from then on, and after `MOST_ATTEMPTS` batches
it is not tried again.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson
import redis

from shared.redis_client import RedisError, batches_key

MOST_ATTEMPTS = 3
PAUSE_SECONDS = 5.0

log = logging.getLogger(__name__)


class BatchJournal(Protocol):
    """Where the batching queue notes what it is about to do."""

    def begin(self, keys: Sequence[str]) -> None:
        """A batch of these texts, by content hash, is about to enter the model."""
        ...

    def rest(self) -> None:
        """Nothing is in the model, and nothing waits for it."""
        ...


class NoJournal:
    """Notes nothing: for a model that is not shared with other processes."""

    def begin(self, keys: Sequence[str]) -> None:
        """Do nothing."""

    def rest(self) -> None:
        """Do nothing."""


@dataclass
class RedisBatchJournal:
    """`BatchJournal` on Redis.  A Redis that is away costs a batch its note, never the batch."""

    client: redis.Redis
    """One that gives up soon: the model waits for it."""
    namespace: str
    worker_id: str
    batches_ahead: int = 0
    """Batches that are in the model beside the latest."""
    clock: Callable[[], float] = time.monotonic
    _latest: deque[Sequence[str]] = field(init=False)
    _silent_until: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._latest = deque(maxlen=1 + self.batches_ahead)

    def begin(self, keys: Sequence[str]) -> None:
        """Note the batch in the place of those that have ended; after a failure nothing is noted for some seconds."""
        self._latest.append(keys)
        note = orjson.dumps([key for batch in self._latest for key in batch])
        self._write(lambda: self.client.hset(batches_key(self.namespace), self.worker_id, note))

    def rest(self) -> None:
        """Take the note back: the model is idle, or the worker ends by itself."""
        self._latest.clear()
        self._write(lambda: self.client.hdel(batches_key(self.namespace), self.worker_id))

    def _write(self, write: Callable[[], object]) -> None:
        if self.clock() < self._silent_until:
            return
        try:
            write()
        except RedisError as error:
            log.warning("the batch journal cannot be written (%s); going on without", type(error).__name__)
            self._silent_until = self.clock() + PAUSE_SECONDS
