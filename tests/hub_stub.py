"""A small server that speaks the part of the Hugging Face hub's HTTP that downloads use, and can break off."""

import hashlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

import orjson

Fault = Literal["cut", "reset", "short"]
"""How a download goes wrong: the connection ends early, is reset, or a smaller file than announced comes whole."""


@dataclass
class HubRepository:
    """A repository: files by revision."""

    kind: Literal["datasets", "models"]
    name: str
    revisions: dict[str, dict[str, bytes]]
    gated: bool = False
    token: str = ""
    """Shown to those alone who send it; empty: to all."""


@dataclass
class HubStub:
    """The hub's repositories, what was asked of it, and the faults to come."""

    repositories: list[HubRepository]
    requests: list[str] = field(default_factory=list)
    """Method and path of each request so far."""
    authorizations: list[str | None] = field(default_factory=list)
    """What each request for a repository showed."""
    faults: dict[str, Fault] = field(default_factory=dict)
    """Fault of the next download of a file, by its name; it happens once."""
    url: str = ""

    def downloads(self) -> Counter[str]:
        """How often each file's content was asked for."""
        return Counter(
            request.split("/resolve/")[1].split("/", 1)[1]
            for request in self.requests
            if request.startswith("GET ") and "/resolve/" in request
        )

    def find(self, kind: str, name: str) -> HubRepository | None:
        """The repository, if there is one."""
        return next((found for found in self.repositories if (found.kind, found.name) == (kind, name)), None)


@contextmanager
def running_hub(*repositories: HubRepository) -> Iterator[HubStub]:
    """A hub on a free port of this machine, until the block ends."""
    stub = HubStub(list(repositories))

    class Handler(_Handler):
        hub = stub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Say nothing: the tests read `requests`."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        match path.strip("/").split("/"):
            case ["api", "models" | "datasets" as kind, owner, name, "revision", revision]:
                self._describe(kind, f"{owner}/{name}", revision)
            case ["api", "models" | "datasets" as kind, owner, name, "tree", revision]:
                self._list(kind, f"{owner}/{name}", revision)
            case ["datasets", owner, name, "resolve", revision, *file]:
                self._resolve("datasets", f"{owner}/{name}", revision, "/".join(file))
            case [owner, name, "resolve", revision, *file]:
                self._resolve("models", f"{owner}/{name}", revision, "/".join(file))
            case _:
                self._refuse(404, "", "no such page")

    def _describe(self, kind: str, name: str, revision: str) -> None:
        if (found := self._find(kind, name, revision)) is not None:
            commit, files = found
            siblings = [{"rfilename": file} for file in files]
            self._send_json({"_id": "0", "id": name, "sha": commit, "siblings": siblings})

    def _list(self, kind: str, name: str, revision: str) -> None:
        if (found := self._find(kind, name, revision)) is not None:
            entries = [
                {"type": "file", "path": file, "size": len(content), "oid": _etag(content)}
                for file, content in found[1].items()
            ]
            self._send_json(entries)

    def _resolve(self, kind: str, name: str, revision: str, file: str) -> None:
        if (found := self._find(kind, name, revision)) is None:
            return
        commit, files = found
        if file in files:
            self._send_file(file, files[file], commit)
        else:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})

    def _find(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The revision's commit and files; where there are none the refusal is sent."""
        repository = self.hub.find(kind, name)
        authorization = self.headers.get("Authorization")
        self.hub.authorizations.append(authorization)
        if repository is None or (repository.token and authorization != f"Bearer {repository.token}"):
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        if repository.gated:
            self._refuse(403, "GatedRepo", "Access is restricted.")
            return None
        for known, files in repository.revisions.items():
            commit = hashlib.sha1(f"{name}@{known}".encode(), usedforsecurity=False).hexdigest()
            if revision in (known, commit):
                return commit, files
        self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _send_file(self, file: str, content: bytes, commit: str) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        fault = self.hub.faults.pop(file, None) if self.command == "GET" else None
        rest = content[start:] if fault != "short" else content[start : len(content) // 2]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{_etag(content)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.command == "GET":
            self._send_body(rest, fault)

    def _send_body(self, content: bytes, fault: Fault | None) -> None:
        if fault not in ("cut", "reset"):
            self.wfile.write(content)
            return
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self.close_connection = True
        if fault == "reset":  # a linger time of zero: closing sends RST instead of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _send_json(self, value: object) -> None:
        body = orjson.dumps(value)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = orjson.dumps({"error": message})
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
