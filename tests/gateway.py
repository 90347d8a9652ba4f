"""nginx with the gateway's own configuration, on loopback, with the name service and the replicas that it needs."""

import json
import os
import re
import select
import shutil
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.compose_files import gateway_configuration
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.free_ports import free_port
from tests.processes import running

ADDRESSES = ("127.0.0.1", "127.0.0.2")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as a replica saw it."""

    replica: str
    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int


@dataclass
class Replicas:
    """What several replicas on one port, each with an address of its own, have seen."""

    port: int
    seen: list[Seen] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a client of `/wait` has gone."""


@contextmanager
def running_replica(replicas: Replicas, address: str) -> Iterator[None]:
    """An HTTP server that notes what it is asked.

    It answers with its address; at `/die` it reads the request and hangs up, at `/wait` it waits until the client has
    gone, at `/status/418` it answers with that status.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            path = self.requestline.split()[1]  # self.path has its leading slashes merged
            replicas.seen.append(Seen(address, self.command, path, dict(self.headers), len(body)))
            if self.path.startswith("/wait"):
                select.select([self.connection], [], [], PATIENCE_SECONDS)
                replicas.left.set()
            if self.path.startswith(("/wait", "/die")):
                self.close_connection = True
                return
            self.answer(int(self.path.removeprefix("/status/")) if self.path.startswith("/status/") else 200)

        do_GET = do_POST = handle_any  # noqa: N815 - the names that http.server calls

        def answer(self, status: int) -> None:
            content = json.dumps({"replica": address}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with ThreadingHTTPServer((address, replicas.port), Handler) as server, serving(server):
        yield


@contextmanager
def running_name_service(addresses: list[str]) -> Iterator[int]:
    """A name server that knows every name under these addresses (the list may change); yields its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, reply_socket = self.request
            question = query[12 : query.index(b"\0", 12) + 5]
            found = list(addresses)
            status = b"\x81\x80" if found else b"\x81\x83"
            header = query[:2] + status + b"\0\1" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
            records = [b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) for address in found]
            reply_socket.sendto(header + question + b"".join(records), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as server, serving(server):
        yield server.server_address[1]


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve in a thread for the length of a block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def shared_port() -> int:
    """A port that is free on all of ADDRESSES; skips the test where loopback has only one address."""
    port = free_port()
    for address in ADDRESSES:
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError as error:
                pytest.skip(f"{address} cannot be used: {error}")
    return port


@contextmanager
def running_gateway(
    folder: Path,
    *,
    replica_port: int,
    name_service_port: int,
    settings: Mapping[str, str],
    patience_milliseconds: int = 15_000,
) -> Iterator[int]:
    """The gateway for the length of a block; yields its port.  `patience_milliseconds`: beyond the API's deadline."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    configuration = adapted(
        gateway_configuration(settings),
        {
            "listen 8080 ": f"listen 127.0.0.1:{port} ",
            "resolver 127.0.0.11 ": f"resolver 127.0.0.1:{name_service_port} ",
            "set $replicas api:8000;": f"set $replicas api:{replica_port};",
            "s 15000ms": f"s {patience_milliseconds}ms",
        },
    )
    path = folder / "nginx.conf"
    path.write_text(re.sub(r" /tmp/", f" {folder}/", configuration))
    directives = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")  # root's workers may use the folder
    command = [nginx, "-e", "stderr", "-p", str(folder), "-c", str(path), "-g", directives]
    with running(command, folder / "nginx.log", {}) as process:
        wait_until(lambda: process.popen.poll() is not None or accepts(port))
        assert process.popen.poll() is None, process.output()
        yield port


def adapted(configuration: str, replacements: Mapping[str, str]) -> str:
    """Change what differs between a container and a test; each must be there once."""
    for old, new in replacements.items():
        assert configuration.count(old) == 1, old
        configuration = configuration.replace(old, new)
    return configuration


def accepts(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
