"""The worker's sign of life: what operators, admission and readiness want to know, written every few seconds."""

import logging
import threading
from collections.abc import Callable

import redis

from shared.dead_letters import forget_old_letters
from shared.heartbeats import take_heartbeat_back, write_heartbeat
from shared.messages import Heartbeat
from shared.redis_client import RedisError

log = logging.getLogger(__name__)


class HeartbeatThread(threading.Thread):
    """Writes `describe()` to Redis every `every_seconds`, good for `ttl_seconds`, until `stop`."""

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
        try:
            take_heartbeat_back(self._client, self._describe().worker_id)
        except RedisError as error:
            log.warning("could not take the heartbeat back: %s", error)

    def _beat(self) -> None:
        try:
            write_heartbeat(self._client, self._describe(), self._ttl_seconds)
            forget_old_letters(self._client)
        except RedisError as error:
            if not self._silent:
                log.warning("Redis does not take the heartbeat (%s); trying on", error)
            self._silent = True
            return
        if self._silent:
            log.info("Redis takes the heartbeat again")
        self._silent = False
