"""The API's side of the vector cache: a small one in the process, then what is known from corpora, then Redis."""

import asyncio
from collections.abc import Iterable, Sequence

import redis
import redis.asyncio
from cachetools import LRUCache

from api.known_vectors import KnownTables
from shared.embedding_cache import CachedVector, VectorCodec
from shared.redis_client import RedisError, redis_away

IN_PROCESS_BYTES = 64 * 1024 * 1024
ENTRY_BYTES = 600
"""What an entry costs beside its numbers: the key, the array's header, the places in two dictionaries."""

FEW_KEYS = 64
"""So many are looked up at once; more of them in a thread, since their vectors may have to be read from disk."""

TOKENS_NOT_KNOWN = 0


class _Recent(LRUCache[tuple[str, str], CachedVector]):
    """Counts what it has to let go."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes, getsizeof=lambda entry: entry.vector.nbytes + ENTRY_BYTES)
        self.evictions = 0

    def popitem(self) -> tuple[tuple[str, str], CachedVector]:
        self.evictions += 1
        return super().popitem()


class VectorCache:
    """Looks vectors up by content hash.  Vectors are immutable: an in-process entry can be old but never wrong.

    `known` is what it has from corpora; others add to it and take from it.
    """

    def __init__(self, client: redis.asyncio.Redis, in_process_bytes: int = IN_PROCESS_BYTES) -> None:
        self._client = client
        self._recent = _Recent(in_process_bytes)
        self.known = KnownTables()
        self.process_hits = 0
        self.known_hits = 0
        self.redis_hits = 0
        self.misses = 0

    @property
    def hits(self) -> int:
        """Texts that were found, in the process, in a corpus or in Redis."""
        return self.process_hits + self.known_hits + self.redis_hits

    @property
    def evictions(self) -> int:
        """Entries of this process that gave way to newer ones."""
        return self._recent.evictions

    @property
    def held_bytes(self) -> int:
        """Memory of this process's entries, about."""
        return int(self._recent.currsize)

    async def fetch(
        self, codec: VectorCodec, keys: Sequence[str], *, redis_is_away: bool = False, with_tokens: bool = False
    ) -> dict[str, CachedVector]:
        """Entries by content hash, misses left out; one MGET at most.  `NotReadyError` when Redis is away.

        `redis_is_away`: seen within the last seconds, so that waiting for a time-out again would help nobody.
        `with_tokens`: the lengths of the texts are wanted too, which no corpus knows.
        """
        found = self._find_recent(codec, keys)
        known = {} if with_tokens else await self._find_known(codec, [key for key in keys if key not in found])
        missing = [key for key in keys if key not in found and key not in known]
        if missing and redis_is_away:
            raise redis_away(redis.ConnectionError())
        shared = await self._fetch_shared(codec, missing)
        self.process_hits += len(found)
        self.known_hits += len(known)
        self.redis_hits += len(shared)
        self.misses += len(missing) - len(shared)
        return found | known | shared

    async def fetch_again(self, codec: VectorCodec, keys: Sequence[str]) -> dict[str, CachedVector]:
        """What came of texts that were counted as misses when they were asked for; nothing is counted."""
        found = self._find_recent(codec, keys)
        return found | await self._fetch_shared(codec, [key for key in keys if key not in found])

    def _find_recent(self, codec: VectorCodec, keys: Sequence[str]) -> dict[str, CachedVector]:
        return {key: entry for key in keys if (entry := self._recent.get((codec.namespace, key))) is not None}

    async def _find_known(self, codec: VectorCodec, keys: Sequence[str]) -> dict[str, CachedVector]:
        if len(keys) <= FEW_KEYS:
            known = self.known.find(codec, keys)
        else:
            known = await asyncio.to_thread(self.known.find, codec, keys)
        return {key: CachedVector(vector, TOKENS_NOT_KNOWN) for key, vector in known.items()}

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
