"""What the stub of the Hugging Face hub holds, and how it answers in general."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Literal

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
            *(f"{path} {etag(content)}" for path, content in sorted(self.revisions[revision].items())),
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


class HubAnswers(BaseHTTPRequestHandler):
    """What answers to downloads and uploads have in common."""

    protocol_version = "HTTP/1.1"
    hub: HubStub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Say nothing: the tests read `requests`."""

    def find_repository(self, kind: str, name: str) -> HubRepository | None:
        """The repository, where it may be seen; else the refusal is sent."""
        repository = self.hub.find(kind, name)
        authorization = self.headers.get("Authorization")
        self.hub.authorizations.append(authorization)
        if repository is None or (repository.token and authorization != f"Bearer {repository.token}"):
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        if repository.gated:
            self.refuse(403, "GatedRepo", "Access is restricted.")
            return None
        return repository

    def send_json(self, value: object) -> None:
        body = orjson.dumps(value)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = orjson.dumps({"error": message})
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()
