"""The worker's side of the vector cache: look up before computing, write before telling."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
import redis
from redis.client import Pipeline

from shared.dead_letters import DeadLetter, put_letter
from shared.embedding_cache import CachedVector, VectorCodec
from shared.messages import FOREIGN_IDS, WORKER_LOST, EmbedJob, JobDone
from shared.redis_client import WORKERS_KEY, attempts_key, batches_key, leases_key

MOST_COUNTED_TEXTS = 100_000

ATTEMPTS = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
for _, worker in ipairs(redis.call('HKEYS', KEYS[2])) do
  local alive_until = redis.call('ZSCORE', KEYS[3], worker)
  if not alive_until or tonumber(alive_until) < now then
    for _, text in ipairs(cjson.decode(redis.call('HGET', KEYS[2], worker))) do
      redis.call('HINCRBY', KEYS[1], text, 1)
    end
    redis.call('HDEL', KEYS[2], worker)
  end
end
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then redis.call('DEL', KEYS[1]) end
local counts = {}
for i = 2, #ARGV do counts[i - 1] = redis.call('HGET', KEYS[1], ARGV[i]) end
return counts
"""
"""How often each text was in a batch that never ended; a count that is missing comes back as nil (false in Lua)."""


class VectorStore(Protocol):
    """What the job runner needs of Redis."""

    def fetch(self, keys: Sequence[str]) -> dict[str, CachedVector]:
        """Entries by content hash; misses are left out."""
        ...

    def store(self, entries: Mapping[str, CachedVector], ttl_seconds: int) -> None:
        """Write entries that live `ttl_seconds`."""
        ...

    def finish(self, job: EmbedJob, entries: Mapping[str, CachedVector], ttl_seconds: int, done: JobDone) -> None:
        """Write the last entries of a job, release its lease, then tell its replica: in this order.

        Texts that failed go to the dead letters, unless the caller is to blame.
        """
        ...

    def is_wanted(self, job: EmbedJob) -> bool:
        """Whether somebody still waits for the job: its lease lives."""
        ...

    def attempts(self, keys: Sequence[str]) -> dict[str, int]:
        """How often each text was in a batch that never ended; texts of which nothing is known are left out."""
        ...

    def in_other_models(self, keys: Collection[str]) -> set[str]:
        """Which of these texts another worker has in its model, or had when it ended a moment ago."""
        ...


@dataclass(frozen=True, slots=True)
class RedisVectorStore:
    """`VectorStore` on Redis; the client is expected to retry, since a vector that is not written is lost work."""

    client: redis.Redis
    codec: VectorCodec
    worker_id: str = ""
    """Whose journal is its own."""

    def fetch(self, keys: Sequence[str]) -> dict[str, CachedVector]:
        """One MGET."""
        if not keys:
            return {}
        values = self.client.mget([self.codec.redis_key(key) for key in keys])
        return self.codec.decode_many(keys, values)

    def store(self, entries: Mapping[str, CachedVector], ttl_seconds: int) -> None:
        """One pipeline of SETs."""
        if entries:
            pipeline = self.client.pipeline(transaction=False)
            self._queue_writes(pipeline, entries, ttl_seconds)
            pipeline.execute()

    def finish(self, job: EmbedJob, entries: Mapping[str, CachedVector], ttl_seconds: int, done: JobDone) -> None:
        """SETs, the dead letter, ZREM and PUBLISH in one pipeline."""
        pipeline = self.client.pipeline(transaction=False)
        self._queue_writes(pipeline, entries, ttl_seconds)
        if failed := [text for text in done.failed if text.kind != FOREIGN_IDS]:
            put_letter(pipeline, DeadLetter.of(job, failed))
            self._forget_attempts(pipeline, [text.key for text in done.failed if text.kind != WORKER_LOST])
        if job.lease:
            pipeline.zrem(leases_key(job.namespace, job.priority), job.lease)
        pipeline.publish(job.reply_channel, done.to_bytes())
        pipeline.execute()

    def is_wanted(self, job: EmbedJob) -> bool:
        """Its lease and Redis' time; a job without a lease is always wanted."""
        if not job.lease:
            return True
        pipeline = self.client.pipeline(transaction=False)
        pipeline.zscore(leases_key(job.namespace, job.priority), job.lease)
        pipeline.time()
        expiry, (seconds, _) = pipeline.execute()
        return expiry is not None and float(expiry) > seconds

    def attempts(self, keys: Sequence[str]) -> dict[str, int]:
        """One script, which also counts what dead workers had in their model."""
        if not keys:
            return {}
        namespace = self.codec.namespace
        places = (attempts_key(namespace), batches_key(namespace), WORKERS_KEY)
        counts = self.client.eval(ATTEMPTS, len(places), *places, MOST_COUNTED_TEXTS, *keys)
        return {key: int(count) for key, count in zip(keys, counts, strict=True) if count is not None}

    def in_other_models(self, keys: Collection[str]) -> set[str]:
        """Their journals; those of workers known to be dead are gone once `attempts` has counted them."""
        if not keys:
            return set()
        journals = self.client.hgetall(batches_key(self.codec.namespace))
        others = (note for worker, note in journals.items() if worker != self.worker_id.encode())
        return {key for note in others for key in orjson.loads(note)} & set(keys)

    def _queue_writes(self, pipeline: Pipeline, entries: Mapping[str, CachedVector], ttl_seconds: int) -> None:
        for key, entry in entries.items():
            pipeline.set(self.codec.redis_key(key), self.codec.encode(entry), ex=ttl_seconds)
        self._forget_attempts(pipeline, list(entries))

    def _forget_attempts(self, pipeline: Pipeline, keys: Sequence[str]) -> None:
        if keys:
            pipeline.hdel(attempts_key(self.codec.namespace), *keys)
