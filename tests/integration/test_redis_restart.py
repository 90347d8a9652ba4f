"""Redis is started again under a client whose pool is full of connections to the one before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio

from api.commands.redis_server import find_redis_binary, redis_command, wait_for_redis
from shared.redis_client import async_redis
from tests.embedding_fakes import PATIENCE_SECONDS
from tests.free_ports import free_port
from tests.processes import running

COMMANDS = 8


@asynccontextmanager
async def running_at(port: int, folder: Path) -> AsyncIterator[None]:
    with running(redis_command(find_redis_binary(), port, folder), folder / "redis.log", {}):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await wait_for_redis(f"redis://127.0.0.1:{port}/0")
        yield


async def ask_at_once(client: redis.asyncio.Redis) -> list[object]:
    """The answers to as many commands as there are connections, or what was raised instead."""
    return await asyncio.gather(*(client.time() for _ in range(COMMANDS)), return_exceptions=True)


def failures(answers: list[object]) -> list[object]:
    return [answer for answer in answers if isinstance(answer, BaseException)]


def test_no_command_after_a_restart_is_sent_over_a_connection_from_before(tmp_path: Path) -> None:
    async def across_a_restart() -> tuple[list[object], list[object]]:
        port = free_port()
        client = async_redis(f"redis://127.0.0.1:{port}/0")
        try:
            async with running_at(port, tmp_path):
                before = await ask_at_once(client)
            async with running_at(port, tmp_path):
                return before, await ask_at_once(client)
        finally:
            await client.aclose()

    before, after = asyncio.run(across_a_restart())
    assert failures(before) == []
    assert failures(after) == []
