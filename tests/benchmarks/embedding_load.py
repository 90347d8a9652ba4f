"""Clients that ask a server for embeddings by OpenAI's API, each its next request as soon as it has an answer."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import numpy as np
import orjson

from shared.embedding_cache import Vector

TIMEOUT_SECONDS = 300.0

Encoding = Literal["base64", "float"]


@dataclass(frozen=True, slots=True)
class Load:
    """How texts are asked for."""

    clients: int
    texts_a_request: int
    encoding: Encoding

    def __str__(self) -> str:
        clients = "1 client" if self.clients == 1 else f"{self.clients} clients"
        texts = "1 text" if self.texts_a_request == 1 else f"{self.texts_a_request} texts"
        return f"{texts} a request ({self.encoding}), {clients}"


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a load."""

    seconds: float
    """From the first request to the last answer; making the bodies and reading the vectors is not in it."""
    answers: Sequence[bytes]
    """In the order of the texts."""

    def vectors(self) -> Vector:
        """One row a text."""
        return np.array([vector for answer in self.answers for vector in vectors_of(orjson.loads(answer))])

    def prompt_tokens(self) -> int:
        """As the server counts them."""
        return sum(orjson.loads(answer)["usage"]["prompt_tokens"] for answer in self.answers)


def vectors_of(answer: dict[str, Any]) -> Iterator[Vector]:
    """Float32 vectors of one answer, in the order of its inputs."""
    for item in sorted(answer["data"], key=lambda item: int(item["index"])):
        given = item["embedding"]
        yield np.frombuffer(base64.b64decode(given), "<f4") if isinstance(given, str) else np.array(given, np.float32)


def ask_for_embeddings(url: str, model: str, texts: Sequence[str], load: Load) -> Answered:
    """Send all texts; raises `ConnectionError` at the first request that is not answered with 200."""
    size = load.texts_a_request
    bodies = [
        orjson.dumps({"model": model, "input": texts[start : start + size], "encoding_format": load.encoding})
        for start in range(0, len(texts), size)
    ]
    return asyncio.run(send_all(httpx.URL(url), bodies, load.clients))


async def send_all(url: httpx.URL, bodies: Sequence[bytes], clients: int) -> Answered:
    """Each client keeps a connection of its own, open before the clock starts.

    Requests are written by hand: clients and server share the machine, and httpx takes more of it than a cached answer.
    """
    requests = [request(url, body) for body in bodies]
    answers = [b""] * len(requests)
    waiting = iter(enumerate(requests))
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(url)) for _ in range(clients)]

        async def one_after_the_other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for place, sent in waiting:
                writer.write(sent)
                answers[place] = await read_answer(reader)

        started = time.perf_counter()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await asyncio.gather(*(one_after_the_other(*connection) for connection in connections))
        return Answered(time.perf_counter() - started, answers)


@asynccontextmanager
async def connected(url: httpx.URL) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection for the length of a block."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


def request(url: httpx.URL, body: bytes) -> bytes:
    """All bytes of a request for embeddings."""
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: {url.netloc.decode()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """The body of a 200 answer with a length; raises `ConnectionError` for another."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length is None:
        raise ConnectionError(f"no length: {head!r}")
    body = await reader.readexactly(int(length[1]))
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise ConnectionError(f"refused: {head!r} {body!r}")
    return body
