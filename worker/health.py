"""Health check of a worker's container: `python -m worker.health` exits with 0 while a worker of this host reports."""

import socket
import sys

from shared.errors import PremiseServerError
from shared.heartbeats import live_workers
from shared.redis_client import RedisError, prompt_redis
from shared.settings import load_settings

PARTS_AFTER_THE_HOST = 2
"""A worker's id is `host-pid-nonce`; a host's name may hold hyphens of its own."""


def main() -> None:
    """Exit with 1 and a sentence when Redis knows no live worker of this host."""
    try:
        alive = is_worker_alive(load_settings().redis_url, socket.gethostname())
    except (PremiseServerError, RedisError) as error:
        sys.exit(f"The worker's heartbeat cannot be read: {error}")
    if not alive:
        sys.exit("No worker of this host reports: it is still loading its model, or it has died; see its log.")


def is_worker_alive(redis_url: str, host: str) -> bool:
    """Whether a worker of this host has a heartbeat in Redis.  Raises `RedisError` when Redis is away."""
    with prompt_redis(redis_url) as client:
        hosts = [worker.worker_id.rsplit("-", PARTS_AFTER_THE_HOST)[0] for worker in live_workers(client)]
        return host in hosts


if __name__ == "__main__":
    main()
