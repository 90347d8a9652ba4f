"""Redis clients with bounded waits, and the names of the keys that are not vectors."""

import redis
import redis.asyncio
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from shared.errors import NotReadyError

RedisError = redis.RedisError

AWAY = (redis.ConnectionError, redis.TimeoutError, BusyLoadingError, ReadOnlyError, OutOfMemoryError)
"""What Redis answers, or fails to, while it is down, loading, full or a replica: as if it were away."""

WORKERS_KEY = "premises:workers"
"""Sorted set of worker ids by the time (Redis' own) at which they count as gone."""

HEARTBEATS_KEY = "premises:heartbeats"
"""Hash of the latest heartbeat of each worker.  Without a lifetime: a full Redis evicts keys that have one."""

UNACKED_KEY = "unacked"
"""Celery's hash of the jobs that workers have taken and not finished."""

PRIORITY_SEPARATOR = "\x06\x16"

CONNECT_TIMEOUT_SECONDS = 2.0
SOCKET_TIMEOUT_SECONDS = 5.0
HASTY_TIMEOUT_SECONDS = 0.5
MOST_CONNECTIONS = 64
LONGEST_PAUSE_SECONDS = 2.0
PAUSES_IN_TWO_MINUTES = 65


def redis_away(error: redis.RedisError) -> NotReadyError:
    """What a caller is told when Redis cannot be used now: not there, loading, full, busy or a replica."""
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return NotReadyError("Redis cannot be reached: try again in a few seconds.")
    return NotReadyError(f"Redis cannot be used at the moment ({type(error).__name__}): try again in a few seconds.")


def priority_list(queue: str, priority: int) -> str:
    """The broker's list for one priority of a queue, as kombu names it."""
    return f"{queue}{PRIORITY_SEPARATOR}{priority}" if priority else queue


def leases_key(namespace: str, priority: int) -> str:
    """Sorted set of the admission leases of one class of work: `job:tokens` scored by expiry."""
    return f"premises:leases:{namespace}:{priority}"


def batches_key(namespace: str) -> str:
    """Hash of the texts that each worker has in its model, by content hash."""
    return f"premises:batches:{namespace}"


def attempts_key(namespace: str) -> str:
    """Hash of the texts, by content hash, that were in a batch which did not end, with how often that happened."""
    return f"premises:attempts:{namespace}"


def reply_channel(replica_id: str) -> str:
    """Pub/sub channel on which one API process hears of finished jobs."""
    return f"premises:done:{replica_id}"


def patient_redis(url: str) -> redis.Redis:
    """A blocking client that retries for two minutes: what it writes must not be lost to a Redis restart."""
    retry = Retry(
        ExponentialBackoff(cap=LONGEST_PAUSE_SECONDS, base=0.05), PAUSES_IN_TWO_MINUTES, supported_errors=AWAY
    )
    return redis.Redis.from_url(
        url,
        retry=retry,
        retry_on_error=list(AWAY),
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        health_check_interval=10,
    )


def prompt_redis(url: str) -> redis.Redis:
    """A blocking client that gives up within seconds."""
    return redis.Redis.from_url(
        url, socket_timeout=SOCKET_TIMEOUT_SECONDS, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS, retry=None
    )


def hasty_redis(url: str) -> redis.Redis:
    """A blocking client for what may be left out: it holds its caller up for half a second at most."""
    return redis.Redis.from_url(
        url, socket_timeout=HASTY_TIMEOUT_SECONDS, socket_connect_timeout=HASTY_TIMEOUT_SECONDS, retry=None
    )


def async_redis(url: str) -> redis.asyncio.Redis:
    """An asyncio client that gives up within seconds, so that a request hears 503 rather than nothing.

    More requests than there are connections wait for one, as long as for an answer.  Nothing is ever sent twice:
    connections that Redis has closed, as by a restart, are replaced before a command goes out.  (redis-py leaves that
    out where it may get notices of maintenance, which only a hosted Redis sends and nothing here reads.)
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=MOST_CONNECTIONS,
        timeout=SOCKET_TIMEOUT_SECONDS,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        health_check_interval=10,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return redis.asyncio.Redis.from_pool(pool)
