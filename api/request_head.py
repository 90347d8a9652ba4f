"""Bounds what comes before a request's body: the request line and the headers, in bytes and in time.

uvicorn's quick parser takes heads of any length, and waits for their end for ever; nobody has shown a key by then.
"""

from asyncio import TimerHandle

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

LONGEST_HEAD_BYTES = 128 * 1024
"""Goals travel in addresses too, percent-encoded; the gateway takes 64 KiB of those."""
HEAD_SECONDS = 30.0
TOO_LARGE = f"The request line and headers are larger than {LONGEST_HEAD_BYTES} bytes: send long texts in a body."
TOO_SLOW = "The request line and headers did not arrive within {:g} seconds: send them faster."


class BoundedHeadProtocol(HttpToolsProtocol):
    """One connection, closed with 431 or 408 where the head of a request is too long or too slow."""

    head_seconds = HEAD_SECONDS
    _head_bytes = 0
    _in_head = False
    _head_timer: TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Parse what came, then count it where it is part of a head that has not ended."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD_BYTES:
                self._refuse(431, TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._stop_timer()
        self._head_timer = self.loop.call_later(
            self.head_seconds, self._refuse, 408, TOO_SLOW.format(self.head_seconds)
        )

    def on_headers_complete(self) -> None:
        """Its head has ended."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to refuse."""
        self._in_head = False
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, message: str) -> None:
        """Answer, unless the answer to an earlier request of the connection is still on its way, and close."""
        self._in_head = False
        self._stop_timer()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = orjson.dumps({"detail": message})
            self.transport.write(
                STATUS_LINE[status]
                + b"content-type: application/json\r\nconnection: close\r\n"
                + b"content-length: %d\r\n\r\n" % len(body)
                + body
            )
        self.transport.close()
