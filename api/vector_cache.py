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


class VectorCache:
    """Looks vectors up by content hash.  Vectors are immutable: an in-process entry can be old but never wrong."""

    def __init__(self, client: redis.asyncio.Redis, in_process_bytes: int = IN_PROCESS_BYTES) -> None:
        self._client = client
        self._recent: LRUCache[tuple[str, str], CachedVector] = LRUCache(
            in_process_bytes, getsizeof=lambda entry: entry.vector.nbytes + ENTRY_BYTES
        )
        self.hits = 0
        self.misses = 0

    async def fetch(
        self, codec: VectorCodec, keys: Sequence[str], *, redis_is_away: bool = False
    ) -> dict[str, CachedVector]:
        """Entries by content hash, misses left out; one MGET at most.  `NotReadyError` when Redis is away.

        `redis_is_away`: seen within the last seconds, so that waiting for a time-out again would help nobody.
        """
        found = {key: entry for key in keys if (entry := self._recent.get((codec.namespace, key))) is not None}
        missing = [key for key in keys if key not in found]
        if missing and redis_is_away:
            raise redis_away(redis.ConnectionError())
        found |= await self._fetch_shared(codec, missing)
        self.hits += len(found)
        self.misses += len(keys) - len(found)
        return found

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
