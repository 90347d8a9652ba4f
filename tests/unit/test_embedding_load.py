"""The clients of the benchmark against other embedding servers, against a server that counts and refuses."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import orjson
import pytest

from tests.benchmarks.embedding_load import Encoding, Load, ask_for_embeddings
from tests.embedding_fakes import PATIENCE_SECONDS


@contextmanager
def counting_server(status: str = "200 OK", together: int = 1) -> Iterator[tuple[str, list[int]]]:
    """Answers with each text's length as a vector; yields its URL, and how many requests were open at each arrival.

    It answers none before so many were open `together` for once.
    """
    open_now, seen, full = [0], list[int](), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            open_now[0] += 1
            seen.append(open_now[0])
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            asked = orjson.loads(await reader.readexactly(length))
            if open_now[0] >= together:
                full.set()
            await full.wait()
            open_now[0] -= 1
            body = orjson.dumps(answer(asked["input"], asked["encoding_format"]))
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(PATIENCE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_SECONDS)
        loop.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.gather(*others, return_exceptions=True)


def answer(texts: list[str], encoding: str) -> dict[str, object]:
    vectors = [np.array([len(text)], "<f4") for text in texts]
    told = [base64.b64encode(each.tobytes()).decode() if encoding == "base64" else each.tolist() for each in vectors]
    return {"data": [{"index": place, "embedding": each} for place, each in enumerate(told)][::-1]}


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_vectors_come_in_the_order_of_the_texts(encoding: Encoding) -> None:
    texts = ["x" * length for length in range(1, 30)]
    with counting_server() as (url, _):
        answered = ask_for_embeddings(url, "demo", texts, Load(3, 4, encoding))
    assert answered.vectors()[:, 0].tolist() == list(range(1, 30))


def test_as_many_requests_are_open_as_there_are_clients() -> None:
    with counting_server(together=5) as (url, seen):
        ask_for_embeddings(url, "demo", ["x"] * 40, Load(5, 2, "base64"))
    assert len(seen) == 20
    assert max(seen) == 5


def test_a_refusal_ends_the_measurement() -> None:
    with counting_server("429 Too Many Requests") as (url, _), pytest.raises(ConnectionError, match="429"):
        ask_for_embeddings(url, "demo", ["x"] * 4, Load(1, 2, "base64"))


def test_a_load_says_what_it_is() -> None:
    assert str(Load(1, 32, "base64")) == "32 texts a request (base64), 1 client"
    assert str(Load(8, 1, "float")) == "1 text a request (float), 8 clients"
