"""Where the workers' signs of life are kept in Redis, and who counts as alive.

Neither key has a lifetime of Redis' own: a full Redis evicts keys that have one, and a worker whose heartbeat was
evicted would count as dead.  Each entry carries the moment of its end instead, in Redis' time.
"""

from collections.abc import Iterable
from contextlib import suppress

import redis
import redis.asyncio

from shared.deployment_hash import deployment_key, describe_deployment
from shared.messages import Heartbeat
from shared.redis_client import HEARTBEATS_KEY, WORKERS_KEY

REMEMBERED_LIVES = 10
"""A worker that has been gone for this many lifetimes of its heartbeat is forgotten."""

BEAT = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4])) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('HDEL', KEYS[2], gone)
end
"""

LIVE = """
local clock = redis.call('TIME')
local live = redis.call('ZRANGEBYSCORE', KEYS[1], clock[1] + clock[2] / 1000000, '+inf')
if #live == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(live))
"""


def write_heartbeat(client: redis.Redis, heartbeat: Heartbeat, ttl_seconds: float) -> None:
    """Say that a worker lives, for `ttl_seconds`."""
    lives = [ttl_seconds, REMEMBERED_LIVES * ttl_seconds]
    pipeline = client.pipeline()
    pipeline.eval(BEAT, 2, WORKERS_KEY, HEARTBEATS_KEY, heartbeat.worker_id, heartbeat.to_bytes(), *lives)
    describe_deployment(pipeline, heartbeat, ttl_seconds)
    pipeline.execute()


def take_heartbeat_back(client: redis.Redis, worker_id: str) -> None:
    """Say that a worker has ended."""
    client.zrem(WORKERS_KEY, worker_id)
    client.hdel(HEARTBEATS_KEY, worker_id)
    client.delete(deployment_key(worker_id))


def live_workers(client: redis.Redis) -> list[Heartbeat]:
    """Heartbeats of the workers that live, oldest worker first."""
    return _parse(client.eval(LIVE, 2, WORKERS_KEY, HEARTBEATS_KEY))


async def read_live_workers(client: redis.asyncio.Redis) -> list[Heartbeat]:
    """The same by an asyncio client."""
    return _parse(await client.eval(LIVE, 2, WORKERS_KEY, HEARTBEATS_KEY))


def _parse(values: Iterable[object]) -> list[Heartbeat]:
    """Whatever cannot be read, as of a worker of another version, is left out: it must not hide the others."""
    heartbeats = []
    for value in values:
        with suppress(ValueError, TypeError, LookupError):
            heartbeats += [Heartbeat.from_bytes(value)] if isinstance(value, bytes) else []
    return sorted(heartbeats, key=lambda heartbeat: heartbeat.started_at)
