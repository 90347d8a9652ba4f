"""Asks the API whether it is ready, and what it waits for."""

import asyncio
import http.client
import json
from collections.abc import Callable

POLL_SECONDS = 0.3
ANSWER_SECONDS = 5.0
API_AWAY = "The API is starting."
UNSPECIFIED_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, never bound


def reachable_host(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    return UNSPECIFIED_HOSTS.get(host, host)


def base_url(host: str, port: int) -> str:
    """The address to give to clients on this machine, without a slash at its end."""
    name = reachable_host(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


async def wait_until_ready(host: str, port: int, report: Callable[[str], None]) -> None:
    """Return when `GET /health/ready` answers 200; what is awaited is reported whenever it changes."""
    told = ""
    while (awaited := await asyncio.to_thread(what_is_awaited, host, port)) is not None:
        if awaited != told:
            report(f"not ready yet: {awaited}")
        told = awaited
        await asyncio.sleep(POLL_SECONDS)


def what_is_awaited(host: str, port: int) -> str | None:
    """None when the API is ready, else its own reasons; it has none while it does not answer."""
    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        return None if response.status == http.HTTPStatus.OK else _reasons(response.read())
    except (OSError, http.client.HTTPException):
        return API_AWAY
    finally:
        connection.close()


def _reasons(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return API_AWAY
    return str(answer.get("detail", answer)) if isinstance(answer, dict) else str(answer)
