"""The half of the stub that takes uploads, as huggingface_hub 2.4 sends them without Xet.

Preupload, LFS batch with the transfer `basic`, commit, tag.
"""

import base64
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

import orjson

from tests.hub_repositories import HubAnswers, HubRepository, etag, git_hash


class UploadAnswers(HubAnswers, BaseHTTPRequestHandler):
    """Answers to whatever changes a data set."""

    def do_POST(self) -> None:
        self.answer_upload()

    def do_PUT(self) -> None:
        self.answer_upload()

    def do_DELETE(self) -> None:
        self.answer_upload()

    def answer_upload(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.hub.requests.append(f"{self.command} {path}")
        refused = next((key for key in self.hub.refusals if key in f"{self.command} {path}"), None)
        if refused is not None:
            self.refuse(self.hub.refusals.pop(refused), "", "refused by the test")
        elif self.command == "PUT":  # an address that was given out signed: no token is shown there
            self._take_object(path.rsplit("/", 1)[1], body)
        elif self._may_write():
            self._change(path.strip("/").split("/"), body)

    def _may_write(self) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.hub.tokens.get(token) == "write":
            return True
        if token in self.hub.tokens:
            self.refuse(403, "", "you must use a write token")
        else:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        return False

    def _change(self, path: list[str], body: bytes) -> None:
        match path:
            case ["api", "repos", "create"]:
                self._create(orjson.loads(body))
            case ["api", "datasets", owner, name, action, *revision]:
                if (repository := self.find_repository("datasets", f"{owner}/{name}")) is not None:
                    self._change_repository(repository, action, "/".join(revision), body)
            case ["datasets", owner, name, "info", "lfs", "objects", "batch"] if name.endswith(".git"):
                if self.find_repository("datasets", f"{owner}/{name.removesuffix('.git')}") is not None:
                    self._offer_uploads(orjson.loads(body))
            case ["lfs", "verify", digest]:
                wanted = orjson.loads(body)
                is_whole = digest == wanted["oid"] and len(self.hub.objects[digest]) == wanted["size"]
                self.send_json({}) if is_whole else self.refuse(422, "", "another size")
            case _:
                self.refuse(404, "", "no such page")

    def _create(self, wanted: dict[str, str]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if self.hub.find("datasets", name) is not None:
            self.refuse(409, "", "You already created this dataset repo")
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        files = {".gitattributes": b"*.npy filter=lfs diff=lfs merge=lfs -text\n"}
        hidden = token if wanted.get("visibility") == "private" else ""
        self.hub.repositories.append(HubRepository("datasets", name, {"main": files}, token=hidden))
        self.send_json({"url": f"{self.hub.url}/datasets/{name}"})

    def _change_repository(self, repository: HubRepository, action: str, revision: str, body: bytes) -> None:
        files = repository.files_at(revision)
        if action == "tag" and self.command == "DELETE":
            repository.revisions.pop(revision, None)
            self.send_json({})
        elif files is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif action == "tag":
            self._tag(repository, files, orjson.loads(body)["tag"])
        elif action == "preupload":
            wanted = orjson.loads(body)["files"]
            self.send_json({"files": [self._upload_mode(files, file) for file in wanted]})
        elif action == "commit":
            self._commit(repository, revision, [orjson.loads(line) for line in body.splitlines()])
        else:
            self.refuse(404, "", "no such page")

    def _tag(self, repository: HubRepository, files: dict[str, bytes], tag: str) -> None:
        if tag in repository.revisions:
            self.refuse(409, "", f"Tag reference exists already: {tag}")
        else:
            repository.revisions[tag] = dict(files)
            self.send_json({})

    def _upload_mode(self, files: dict[str, bytes], wanted: dict[str, str]) -> dict[str, object]:
        """Binary files by LFS, texts as they are; `oid` tells what is there already."""
        path, is_lfs = wanted["path"], wanted["path"].endswith((".gz", ".npy"))
        there = files.get(path)
        oid = {} if there is None else {"oid": etag(there) if is_lfs else git_hash(there)}
        return {"path": path, "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False, **oid}

    def _offer_uploads(self, wanted: dict[str, list[dict[str, object]]]) -> None:
        self.send_json({"transfer": "basic", "objects": [self._offer(one) for one in wanted["objects"]]})

    def _offer(self, wanted: dict[str, object]) -> dict[str, object]:
        """Where to send a content; nothing where it is here."""
        digest = str(wanted["oid"])
        if digest in self.hub.objects:
            return wanted
        upload = {"href": f"{self.hub.url}/lfs/{digest}"}
        return {**wanted, "actions": {"upload": upload, "verify": {"href": f"{self.hub.url}/lfs/verify/{digest}"}}}

    def _take_object(self, digest: str, content: bytes) -> None:
        if etag(content) != digest:
            self.refuse(400, "", "the content is not what was announced")
        else:
            self.hub.objects[digest] = content
            self.send_json({})

    def _commit(self, repository: HubRepository, branch: str, lines: list[dict[str, dict[str, str]]]) -> None:
        """All lines are looked at before anything is changed."""
        header = lines[0]["value"]
        if branch not in repository.branches:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {branch}")
            return
        if header.get("parentCommit", repository.commit_of(branch)) != repository.commit_of(branch):
            self.refuse(412, "", "A commit has happened since")
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
        self.send_json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})
