"""One line for each request, however it ends, with the same fields."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import json_response
from api.request_log import RequestFields, RequestLog
from shared.log_setup import JsonFormatter


class Lines(logging.Handler):
    """What the request log has written, as a collector of JSON lines sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(RequestFields())
        self.setFormatter(JsonFormatter())
        self.entries: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("api")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def ask(application: ASGIApp, path: bytes = b"/retrieve", request_id: bytes = b"mine-1") -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"x-request-id", request_id)]
    scope: Scope = {"type": "http", "method": "POST", "path": "decoded", "raw_path": path, "headers": headers}
    asyncio.run(RequestLog(application)(scope, receive, send))
    return sent


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await json_response([], 200)(scope, receive, send)


def test_a_line_has_method_path_status_time_and_id(lines: Lines) -> None:
    ask(answer)
    [entry] = lines.entries
    assert entry["message"] == "POST /retrieve 200"
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/retrieve", 200)
    assert entry["request_id"] == "mine-1"
    assert isinstance(entry["total_ms"], float)


def test_an_unexpected_failure_is_answered_with_the_id_and_logged_as_500(lines: Lines) -> None:
    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    start, body = ask(fail)
    assert start["status"] == 500
    assert (b"x-request-id", b"mine-1") in start["headers"]
    assert b"log says why" in body["body"]
    failure, entry = lines.entries
    assert "ZeroDivisionError" in str(failure["exception"])
    assert (entry["status"], failure["request_id"], entry["request_id"]) == (500, "mine-1", "mine-1")


def test_a_failure_within_the_answer_is_left_to_the_server_which_closes_the_connection(lines: Lines) -> None:
    async def break_off(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(break_off)
    assert [entry["status"] for entry in lines.entries] == [200]


def test_a_client_that_leaves_without_an_answer_is_499(lines: Lines) -> None:
    async def say_nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pass

    ask(say_nothing)
    assert [entry["status"] for entry in lines.entries] == [499]


def test_what_is_logged_on_the_way_has_the_id_and_what_is_logged_outside_has_none(lines: Lines) -> None:
    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        logging.getLogger("api.anything").warning("on the way")
        await answer(scope, receive, send)

    ask(talk)
    logging.getLogger("api.anything").warning("outside")
    ids = {entry["message"]: entry.get("request_id") for entry in lines.entries}
    assert ids == {"on the way": "mine-1", "POST /retrieve 200": "mine-1", "outside": None}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"/a%20200%20total_ms=1%0Ax", "/a%20200%20total_ms=1%0Ax"),
        ("/«x»".encode(), r"/\xc2\xabx\xc2\xbb"),
        (b"/" + b"a" * 600, "/" + "a" * 499 + "..."),
    ],
)
def test_a_path_is_shown_as_it_was_sent_and_not_for_ever(lines: Lines, raw: bytes, shown: str) -> None:
    ask(answer, raw)
    assert [entry["path"] for entry in lines.entries] == [shown]


@pytest.mark.parametrize("strange", [b"", b"two words", b"a\nb", "«x»".encode(), b"x" * 129])
def test_an_id_that_could_be_taken_for_something_else_is_replaced(lines: Lines, strange: bytes) -> None:
    ask(answer, request_id=strange)
    [entry] = lines.entries
    assert len(str(entry["request_id"])) == 32
