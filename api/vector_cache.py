"""The API's side of the vector cache: a small one in the process before the shared one in Redis."""

from collections.abc import Iterable, Sequence

import redis
import redis.asyncio
from cachetools import LRUCache

from shared.embedding_cache import CachedVector, VectorCodec
from shared.redis_client import RedisError, redis_away

IN_PROCESS_BYTES = 64 * 1024 * 1024
ENTRY_BYTES = 600
"""What an entry costs beside its numbers: the key, the array's header, the places in two dictionaries."""


class _Recent(LRUCache[tuple[str, str], CachedVector]):
    """Counts what it has to let go."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes, getsizeof=lambda entry: entry.vector.nbytes + ENTRY_BYTES)
        self.evictions = 0

    def popitem(self) -> tuple[tuple[str, str], CachedVector]:
        self.evictions += 1
        return super().popitem()


class VectorCache:
    """Looks vectors up by content hash.  Vectors are immutable: an in-process entry can be old but never wrong."""

    def __init__(self, client: redis.asyncio.Redis, in_process_bytes: int = IN_PROCESS_BYTES) -> None:
        self._client = client
        self._recent = _Recent(in_process_bytes)
        self.process_hits = 0
        self.redis_hits = 0
        self.misses = 0

    @property
    def hits(self) -> int:
        """Texts that were found, in the process or in Redis."""
        return self.process_hits + self.redis_hits

    @property
    def evictions(self) -> int:
        """Entries of this process that gave way to newer ones."""
        return self._recent.evictions

    @property
    def held_bytes(self) -> int:
        """Memory of this process's entries, about."""
        return int(self._recent.currsize)

    async def fetch(
        self, codec: VectorCodec, keys: Sequence[str], *, redis_is_away: bool = False, again: bool = False
    ) -> dict[str, CachedVector]:
        """Entries by content hash, misses left out; one MGET at most.  `NotReadyError` when Redis is away.

        `redis_is_away`: seen within the last seconds, so that waiting for a time-out again would help nobody.
        `again`: these texts were counted as misses when they were asked for; fetching what came of them counts nothing.
        """
        found = {key: entry for key in keys if (entry := self._recent.get((codec.namespace, key))) is not None}
        missing = [key for key in keys if key not in found]
        if missing and redis_is_away:
            raise redis_away(redis.ConnectionError())
        shared = await self._fetch_shared(codec, missing)
        if not again:
            self.process_hits += len(found)
            self.redis_hits += len(shared)
            self.misses += len(missing) - len(shared)
        return found | shared

    async def _fetch_shared(self, codec: VectorCodec, keys: Sequence[str]) -> dict[str, CachedVector]:
        if not keys:
            return {}
        try:
            values: Iterable[object] = await self._client.mget([codec.redis_key(key) for key in keys])
        except RedisError as error:
            raise redis_away(error) from error
        found = codec.decode_many(keys, values)
        for key, entry in found.items():
            if entry.vector.nbytes + ENTRY_BYTES <= self._recent.maxsize:
                self._recent[codec.namespace, key] = entry
        return found
