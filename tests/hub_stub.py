"""A small server that speaks the part of the Hugging Face hub's HTTP that downloads and uploads use, and can break off.

Uploads are those of huggingface_hub 2.4 without Xet: preupload, LFS batch with the transfer `basic`, commit, tag.
"""

import base64
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
    branches: set[str] = field(default_factory=lambda: {"main"})
    """Which of the revisions are branches; the others are tags."""

    def commit_of(self, revision: str) -> str:
        """The id of a revision's commit: the same for the same files."""
        content = [
            self.name,
            *(f"{path} {_etag(content)}" for path, content in sorted(self.revisions[revision].items())),
        ]
        return hashlib.sha1("\n".join(content).encode(), usedforsecurity=False).hexdigest()

    def files_at(self, revision: str) -> dict[str, bytes] | None:
        """The files of a branch, a tag or a commit."""
        for known, files in self.revisions.items():
            if revision in (known, self.commit_of(known)):
                return files
        return None


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
    refusals: dict[str, int] = field(default_factory=dict)
    """Status of the next request whose method and path contain the key; it happens once."""
    tokens: dict[str, Literal["read", "write"]] = field(default_factory=dict)
    """Who may do what; a token that is not here is unknown."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Uploaded contents by their SHA-256, whether committed or not."""
    url: str = ""

    def uploads(self) -> Counter[str]:
        """How often contents were sent, by the ending of the path: `lfs`, `commit`, `tag`."""
        return Counter(
            next(word for word in ("lfs", "commit", "tag") if f"/{word}/" in request)
            for request in self.requests
            if request.startswith(("PUT ", "POST ", "DELETE "))
            and any(f"/{word}/" in request for word in ("lfs", "commit", "tag"))
        )

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

    def do_POST(self) -> None:
        self._answer_upload()

    def do_PUT(self) -> None:
        self._answer_upload()

    def do_DELETE(self) -> None:
        self._answer_upload()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Say nothing: the tests read `requests`."""

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
        if (repository := self._find_repository(kind, name)) is None:
            return None
        for known, files in repository.revisions.items():
            commit = repository.commit_of(known)
            if revision in (known, commit):
                return commit, files
        self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _find_repository(self, kind: str, name: str) -> HubRepository | None:
        """The repository, where it may be seen; else the refusal is sent."""
        repository = self.hub.find(kind, name)
        authorization = self.headers.get("Authorization")
        self.hub.authorizations.append(authorization)
        if repository is None or (repository.token and authorization != f"Bearer {repository.token}"):
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        if repository.gated:
            self._refuse(403, "GatedRepo", "Access is restricted.")
            return None
        return repository

    def _list_refs(self, kind: str, name: str) -> None:
        if (repository := self._find_repository(kind, name)) is not None:
            branches = [self._ref(repository, "heads", known) for known in sorted(repository.branches)]
            tags = [self._ref(repository, "tags", known) for known in repository.revisions.keys() - repository.branches]
            self._send_json({"branches": branches, "converts": [], "tags": tags})

    def _ref(self, repository: HubRepository, kind: str, name: str) -> dict[str, str]:
        return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": repository.commit_of(name)}

    def _answer_upload(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.hub.requests.append(f"{self.command} {path}")
        refused = next((key for key in self.hub.refusals if key in f"{self.command} {path}"), None)
        if refused is not None:
            self._refuse(self.hub.refusals.pop(refused), "", "refused by the test")
        elif self.command == "PUT":  # an address that was given out signed: no token is shown there
            self._take_object(path.rsplit("/", 1)[1], body)
        elif self._may_write():
            self._change(path.strip("/").split("/"), body)

    def _may_write(self) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.hub.tokens.get(token) == "write":
            return True
        if token in self.hub.tokens:
            self._refuse(403, "", "you must use a write token")
        else:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        return False

    def _change(self, path: list[str], body: bytes) -> None:
        match path:
            case ["api", "repos", "create"]:
                self._create(orjson.loads(body))
            case ["api", "datasets", owner, name, action, *revision]:
                if (repository := self._find_repository("datasets", f"{owner}/{name}")) is not None:
                    self._change_repository(repository, action, "/".join(revision), body)
            case ["datasets", owner, name, "info", "lfs", "objects", "batch"] if name.endswith(".git"):
                if self._find_repository("datasets", f"{owner}/{name.removesuffix('.git')}") is not None:
                    self._offer_uploads(orjson.loads(body))
            case ["lfs", "verify", digest]:
                wanted = orjson.loads(body)
                is_whole = digest == wanted["oid"] and len(self.hub.objects[digest]) == wanted["size"]
                self._send_json({}) if is_whole else self._refuse(422, "", "another size")
            case _:
                self._refuse(404, "", "no such page")

    def _create(self, wanted: dict[str, str]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if self.hub.find("datasets", name) is not None:
            self._refuse(409, "", "You already created this dataset repo")
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        files = {".gitattributes": b"*.npy filter=lfs diff=lfs merge=lfs -text\n"}
        hidden = token if wanted.get("visibility") == "private" else ""
        self.hub.repositories.append(HubRepository("datasets", name, {"main": files}, token=hidden))
        self._send_json({"url": f"{self.hub.url}/datasets/{name}"})

    def _change_repository(self, repository: HubRepository, action: str, revision: str, body: bytes) -> None:
        files = repository.files_at(revision)
        if action == "tag" and self.command == "DELETE":
            repository.revisions.pop(revision, None)
            self._send_json({})
        elif files is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif action == "tag":
            self._tag(repository, files, orjson.loads(body)["tag"])
        elif action == "preupload":
            wanted = orjson.loads(body)["files"]
            self._send_json({"files": [self._upload_mode(files, file) for file in wanted]})
        elif action == "commit":
            self._commit(repository, revision, [orjson.loads(line) for line in body.splitlines()])
        else:
            self._refuse(404, "", "no such page")

    def _tag(self, repository: HubRepository, files: dict[str, bytes], tag: str) -> None:
        if tag in repository.revisions:
            self._refuse(409, "", f"Tag reference exists already: {tag}")
        else:
            repository.revisions[tag] = dict(files)
            self._send_json({})

    def _upload_mode(self, files: dict[str, bytes], wanted: dict[str, str]) -> dict[str, object]:
        """Binary files by LFS, texts as they are; `oid` tells what is there already."""
        path, is_lfs = wanted["path"], wanted["path"].endswith((".gz", ".npy"))
        there = files.get(path)
        oid = {} if there is None else {"oid": _etag(there) if is_lfs else _git_hash(there)}
        return {"path": path, "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False, **oid}

    def _offer_uploads(self, wanted: dict[str, list[dict[str, object]]]) -> None:
        self._send_json({"transfer": "basic", "objects": [self._offer(one) for one in wanted["objects"]]})

    def _offer(self, wanted: dict[str, object]) -> dict[str, object]:
        """Where to send a content; nothing where it is here."""
        digest = str(wanted["oid"])
        if digest in self.hub.objects:
            return wanted
        upload = {"href": f"{self.hub.url}/lfs/{digest}"}
        return {**wanted, "actions": {"upload": upload, "verify": {"href": f"{self.hub.url}/lfs/verify/{digest}"}}}

    def _take_object(self, digest: str, content: bytes) -> None:
        if _etag(content) != digest:
            self._refuse(400, "", "the content is not what was announced")
        else:
            self.hub.objects[digest] = content
            self._send_json({})

    def _commit(self, repository: HubRepository, branch: str, lines: list[dict[str, dict[str, str]]]) -> None:
        """All lines are looked at before anything is changed."""
        header = lines[0]["value"]
        if branch not in repository.branches:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {branch}")
            return
        if header.get("parentCommit", repository.commit_of(branch)) != repository.commit_of(branch):
            self._refuse(412, "", "A commit has happened since")
            return
        files = dict(repository.revisions[branch])
        for line in lines[1:]:
            path = line["value"]["path"]
            match str(line["key"]):
                case "file":
                    files[path] = base64.b64decode(line["value"]["content"])
                case "lfsFile":
                    files[path] = self.hub.objects[line["value"]["oid"]]
                case "deletedFile":
                    del files[path]
        repository.revisions[branch] = files
        commit = repository.commit_of(branch)
        url = f"{self.hub.url}/{repository.kind}/{repository.name}/commit/{commit}"
        self._send_json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

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
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = orjson.dumps({"error": message})
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()
