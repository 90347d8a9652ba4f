"""What the model was seen to do per second, and how large a batch that allows."""

import threading
import time
from collections.abc import Callable

from shared.messages import Priority

LONGEST_BULK_BATCH_SECONDS = 0.05
SMALLEST_BULK_BATCH_TOKENS = 256
WEIGHT_OF_THE_NEWEST = 0.1
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
                self._tokens_per_second += WEIGHT_OF_THE_NEWEST * (tokens / seconds - self._tokens_per_second)
            if priority is Priority.STATE:
                self._last_state_at = self._clock()

    def batch_limit_tokens(self, priority: Priority, max_batch_tokens: int) -> int:
        """Tokens of the next batch: a bulk batch in flight is the wait of the next state, so it is kept short.

        Corpus building while nobody asks for a state has nobody to keep waiting.
        """
        quiet = self._clock() - self._last_state_at >= QUIET_SECONDS
        if priority is Priority.STATE or (priority is Priority.CORPUS and quiet):
            return max_batch_tokens
        affordable = int(self._tokens_per_second * LONGEST_BULK_BATCH_SECONDS)
        return min(max_batch_tokens, max(SMALLEST_BULK_BATCH_TOKENS, affordable))
