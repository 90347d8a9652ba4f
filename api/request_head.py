"""Bounds what comes before a request's body: the request line and the headers, in bytes and in time.

uvicorn's quick parser takes heads of any length, and waits for their end for ever; nobody has shown a key by then.
"""

import asyncio
import logging
from asyncio import TimerHandle

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

LONGEST_HEAD_BYTES = 128 * 1024
"""Goals travel in addresses too, percent-encoded; the gateway takes 64 KiB of those."""
HEAD_SECONDS = 30.0

TOO_LARGE = f"The request line and headers are larger than {LONGEST_HEAD_BYTES} bytes: send long texts in a body."
TOO_SLOW = "The request line and headers did not arrive within {:g} seconds: send them faster."

log = logging.getLogger("api.request")


class BoundedHeadProtocol(HttpToolsProtocol):
    """One connection, closed with 431 or 408 where the head of a request is too long or too slow.

    A request that is being answered still gets its answer first: then what follows it is thrown away.
    """

    head_seconds = HEAD_SECONDS
    _head_bytes = 0
    _in_head = False
    _in_body = False
    _refused = False
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Somebody connected; a request has to follow."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what came, then count it where it is part of a head that has not ended, or of nothing at all."""
        if self._refused:
            return
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if self._in_head or (answered and not self._in_body):
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._start_timer()
            if self._head_bytes > LONGEST_HEAD_BYTES:
                self._refuse(431, TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Its head has ended."""
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Its body has ended."""
        self._in_body = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to refuse."""
        self._refused = True
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.head_seconds, self._refuse_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_slow(self) -> None:
        if self._head_bytes:
            self._refuse(408, TOO_SLOW.format(self.head_seconds))
        else:  # not a word was said
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close; with an earlier request still to be answered, have that answer close the connection."""
        self._refused = True
        self._stop_timer()
        if self.transport.is_closing():
            return
        log.info("the head of a request is refused: %(status)d", {"status": status})
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return
        body = orjson.dumps({"detail": message})
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\nconnection: close\r\n"
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()
