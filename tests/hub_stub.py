"""A small server that speaks the part of the hub's HTTP that downloads and uploads use, and can break off."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.hub_repositories import Fault, HubRepository, HubStub, etag
from tests.hub_uploads import UploadAnswers


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


class _Handler(UploadAnswers, BaseHTTPRequestHandler):  # named twice for ruff, which knows do_GET by that base
    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        match path.strip("/").split("/"):
            case ["api", "models" | "datasets" as kind, owner, name, "revision", revision]:
                self._describe(kind, f"{owner}/{name}", revision)
            case ["api", "models" | "datasets" as kind, owner, name, "refs"]:
                self._list_refs(kind, f"{owner}/{name}")
            case ["api", "models" | "datasets" as kind, owner, name, "tree", revision]:
                self._list(kind, f"{owner}/{name}", revision)
            case ["datasets", owner, name, "resolve", revision, *file]:
                self._resolve("datasets", f"{owner}/{name}", revision, "/".join(file))
            case [owner, name, "resolve", revision, *file]:
                self._resolve("models", f"{owner}/{name}", revision, "/".join(file))
            case _:
                self.refuse(404, "", "no such page")

    def _describe(self, kind: str, name: str, revision: str) -> None:
        if (found := self._find(kind, name, revision)) is not None:
            commit, files = found
            siblings = [{"rfilename": file} for file in files]
            self.send_json({"_id": "0", "id": name, "sha": commit, "siblings": siblings})

    def _list(self, kind: str, name: str, revision: str) -> None:
        if (found := self._find(kind, name, revision)) is not None:
            entries = [
                {"type": "file", "path": file, "size": len(content), "oid": etag(content)}
                for file, content in found[1].items()
            ]
            self.send_json(entries)

    def _resolve(self, kind: str, name: str, revision: str, file: str) -> None:
        if (found := self._find(kind, name, revision)) is None:
            return
        commit, files = found
        if file in files:
            self._send_file(file, files[file], commit)
        else:
            self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})

    def _find(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The revision's commit and files; where there are none the refusal is sent."""
        if (repository := self.find_repository(kind, name)) is None:
            return None
        for known, files in repository.revisions.items():
            commit = repository.commit_of(known)
            if revision in (known, commit):
                return commit, files
        self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _list_refs(self, kind: str, name: str) -> None:
        if (repository := self.find_repository(kind, name)) is not None:
            branches = [self._ref(repository, "heads", known) for known in sorted(repository.branches)]
            tags = [self._ref(repository, "tags", known) for known in repository.revisions.keys() - repository.branches]
            self.send_json({"branches": branches, "converts": [], "tags": tags})

    def _ref(self, repository: HubRepository, kind: str, name: str) -> dict[str, str]:
        return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": repository.commit_of(name)}

    def _send_file(self, file: str, content: bytes, commit: str) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        fault = self.hub.faults.pop(file, None) if self.command == "GET" else None
        rest = content[start:] if fault != "short" else content[start : len(content) // 2]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{etag(content)}"')
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
