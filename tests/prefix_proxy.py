"""A reverse proxy that serves an API under a path prefix and asks for a password, as operators put one in front."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

USER, PASSWORD = "lean", "se:cret"
KEPT_HEADERS = ("content-type", "etag", "cache-control", "content-security-policy", "server-timing")


@contextmanager
def running_prefix_proxy(target: str, prefix: str) -> Iterator[str]:
    """The proxy for the length of a block; yields its origin, below which the API is at `prefix`."""
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            if self.headers.get("Authorization") != expected:
                self.answer(401, b"", {"WWW-Authenticate": 'Basic realm="Lean"'})
                return
            if not self.path.startswith(prefix):
                self.answer(404, b"", {})
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            given = client.request(self.command, self.path.removeprefix(prefix), content=body)
            self.answer(given.status_code, given.content, {name: given.headers.get(name) for name in KEPT_HEADERS})

        do_GET = do_POST = handle_any  # noqa: N815 - the names that http.server calls

        def answer(self, status: int, content: bytes, headers: dict[str, str | None]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with (
        httpx.Client(base_url=target, timeout=120) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
