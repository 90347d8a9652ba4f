"""The worker's sign of life: a key in Redis with what operators, admission and readiness want to know."""

import logging
import threading
import time
from collections.abc import Callable

import redis

from shared.messages import Heartbeat
from shared.redis_client import WORKERS_KEY, RedisError, heartbeat_key

log = logging.getLogger(__name__)


class HeartbeatThread(threading.Thread):
    """Writes `describe()` to Redis every `every_seconds`, with a TTL, until `stop`."""

    def __init__(
        self, client: redis.Redis, describe: Callable[[], Heartbeat], *, every_seconds: float, ttl_seconds: float
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._client = client
        self._describe = describe
        self._every_seconds = every_seconds
        self._ttl_seconds = ttl_seconds
        self._stopping = threading.Event()
        self._silent = False

    def run(self) -> None:
        """Beat until stopped; Redis being away is logged once and outlived."""
        while True:
            self._beat()
            if self._stopping.wait(self._every_seconds):
                return

    def stop(self) -> None:
        """Stop beating and take the sign of life back, so that nobody waits for a worker that is gone."""
        self._stopping.set()
        self.join()
        worker_id = self._describe().worker_id
        try:
            self._client.delete(heartbeat_key(worker_id))
            self._client.zrem(WORKERS_KEY, worker_id)
        except RedisError as error:
            log.warning("could not take the heartbeat back: %s", error)

    def _beat(self) -> None:
        heartbeat = self._describe()
        pipeline = self._client.pipeline()
        pipeline.set(heartbeat_key(heartbeat.worker_id), heartbeat.to_bytes(), px=int(self._ttl_seconds * 1000))
        pipeline.zadd(WORKERS_KEY, {heartbeat.worker_id: time.time()})
        pipeline.zremrangebyscore(WORKERS_KEY, 0, time.time() - 10 * self._ttl_seconds)
        try:
            pipeline.execute()
        except RedisError as error:
            if not self._silent:
                log.warning("Redis does not take the heartbeat (%s); trying on", error)
            self._silent = True
            return
        if self._silent:
            log.info("Redis takes the heartbeat again")
        self._silent = False
