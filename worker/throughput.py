"""What the model was seen to do per second, and how large a batch that allows."""

import threading
import time
from collections.abc import Callable

from shared.messages import Priority

LONGEST_BULK_BATCH_SECONDS = 0.05
LONGEST_QUIET_BULK_BATCH_SECONDS = 0.1
BULK_QUIET_SECONDS = 2.0
SMALLEST_BULK_BATCH_TOKENS = 256
WEIGHT_OF_THE_NEWEST = 0.1
TELLING_BATCH_TOKENS = 512
"""Smaller batches say little about the speed: of a single goal most time is overhead."""
QUIET_SECONDS = 30.0


class Throughput:
    """Moving averages of the encoder's speed, fed by the model thread and read by the heartbeat."""

    def __init__(self, tokens_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._tokens_per_second = tokens_per_second
        self._texts = 0
        self._clock = clock
        self._last_state_at = -QUIET_SECONDS

    @property
    def tokens_per_second(self) -> float:
        """Moving average over batches."""
        return self._tokens_per_second

    @property
    def texts_embedded(self) -> int:
        """Texts embedded since the start."""
        return self._texts

    def record(self, priority: Priority, tokens: int, texts: int, seconds: float) -> None:
        """Note one batch."""
        with self._lock:
            self._texts += texts
            if seconds > 0:
                weight = WEIGHT_OF_THE_NEWEST * min(1.0, tokens / TELLING_BATCH_TOKENS)
                self._tokens_per_second += weight * (tokens / seconds - self._tokens_per_second)
            if priority is Priority.STATE:
                self._last_state_at = self._clock()

    def batch_limit_tokens(self, priority: Priority, max_batch_tokens: int, *, batches: int = 1) -> int:
        """Tokens of the next batch: the bulk in flight is the wait of the next state, so it is kept short.

        `batches` may be in flight at once and share that time.  It is longer while nobody asks for a state; corpus
        building then has nobody to keep waiting at all.
        """
        quiet_seconds = self._clock() - self._last_state_at
        if priority is Priority.STATE or (priority is Priority.CORPUS and quiet_seconds >= QUIET_SECONDS):
            return max_batch_tokens
        quiet = quiet_seconds >= BULK_QUIET_SECONDS
        seconds = LONGEST_QUIET_BULK_BATCH_SECONDS if quiet else LONGEST_BULK_BATCH_SECONDS
        affordable = int(self._tokens_per_second * seconds / batches)
        return min(max_batch_tokens, max(SMALLEST_BULK_BATCH_TOKENS, affordable))
