"""`premises publish` to a hub on this machine, and `premises fetch` of what it published."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pytest

from api.snapshot import current_snapshot
from shared.corpus import read_corpus
from shared.heartbeats import live_workers
from tests.corpora import unit_vectors, write_plain_corpus
from tests.embedding_fakes import wait_until
from tests.fake_deployment import fake_deployment
from tests.hub_repositories import HubRepository, HubStub
from tests.hub_stub import running_hub

REPO = "me/premises"
REVISION = "v4.0.0"
WRITER, READER = "hf_may_write", "hf_may_read"


@dataclass(frozen=True)
class Publisher:
    """Somebody with a corpus of 50 premises, its vectors, and a token that may write."""

    hub_url: str
    folder: Path

    def premises(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command: a process of its own, as HF_* is read at import."""
        environment = {
            "PATH": os.environ["PATH"],
            "HF_ENDPOINT": self.hub_url,
            "HF_HOME": str(self.folder / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": WRITER,
            "DATA_DIR": str(self.folder / "state"),
            **variables,
        }
        command = [sys.executable, "-m", "api.commands.main", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)

    def publish(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.premises("publish", str(self.folder / "corpus"), "--repo", REPO, *arguments, **variables)

    @property
    def with_vectors(self) -> list[str]:
        vectors = str(self.folder / "vectors.npy")
        return ["--embeddings", vectors, "--model-id", "me/encoder", "--model-revision", "v2"]


@pytest.fixture
def hub() -> Iterator[HubStub]:
    earlier = {"README.md": b"Premises.", "embeddings/encoder-v1.npy": b"of another corpus"}
    with running_hub(HubRepository("datasets", REPO, {"main": earlier})) as stub:
        stub.tokens = {WRITER: "write", READER: "read"}
        yield stub


@pytest.fixture
def publisher(hub: HubStub, tmp_path: Path) -> Publisher:
    write_plain_corpus(tmp_path / "corpus", 50)
    np.save(tmp_path / "vectors.npy", unit_vectors(50))
    return Publisher(hub.url, tmp_path)


def files_of(hub: HubStub, revision: str, repo: str = REPO) -> dict[str, bytes]:
    repository = hub.find("datasets", repo)
    assert repository is not None
    return repository.revisions[revision]


def revisions_of(hub: HubStub) -> set[str]:
    repository = hub.find("datasets", REPO)
    assert repository is not None
    return set(repository.revisions)


def test_what_was_published_is_what_others_read_by_its_revision(publisher: Publisher, hub: HubStub) -> None:
    done = publisher.publish(*publisher.with_vectors)
    assert done.returncode == 0, done.stderr
    assert set(files_of(hub, REVISION)) == {
        "README.md",
        "premises.tar.gz",
        "embeddings/encoder-v2.npy",
        "embeddings/encoder-v2.json",
        "manifest.json",
    }
    assert files_of(hub, "main") == files_of(hub, REVISION)
    checked = publisher.premises("check", f"hub:{REPO}@{REVISION}", "--json")
    assert orjson.loads(checked.stdout)["digest"] == read_corpus(publisher.folder / "corpus").digest


def test_a_dry_run_tells_what_would_be_sent_and_sends_nothing(publisher: Publisher, hub: HubStub) -> None:
    done = publisher.publish(*publisher.with_vectors, "--dry-run", HF_TOKEN="")
    assert done.returncode == 0, done.stderr
    assert "Would publish to me/premises, tag v4.0.0" in done.stdout
    assert "embeddings/encoder-v1.npy  would be removed" in done.stdout
    assert [request for request in hub.requests if not request.startswith(("GET", "HEAD"))] == []


def test_publishing_again_sends_nothing(publisher: Publisher, hub: HubStub) -> None:
    publisher.publish()
    hub.requests.clear()
    again = publisher.publish("--json")
    report = orjson.loads(again.stdout)
    assert (again.returncode, report["is_new"], report["tag"]) == (0, False, REVISION)
    assert [request for request in hub.requests if not request.startswith(("GET", "HEAD"))] == []


def test_a_tag_that_names_something_else_is_kept_unless_told(publisher: Publisher, hub: HubStub) -> None:
    publisher.publish()
    before = files_of(hub, REVISION)
    (publisher.folder / "corpus" / "Declarations" / "A.jsonl").write_bytes(
        b'{"name":"A.new","kind":"theorem","args":[],"type":"True"}\n'
    )
    refused = publisher.publish()
    assert (refused.returncode, "has a tag v4.0.0 already" in refused.stderr) == (2, True)
    assert files_of(hub, REVISION) == before
    assert files_of(hub, "main") == before
    assert publisher.publish("--replace").returncode == 0
    assert files_of(hub, REVISION) != before


def test_a_corpus_with_faults_is_not_sent(publisher: Publisher, hub: HubStub) -> None:
    (publisher.folder / "corpus" / "Declarations" / "A.jsonl").write_bytes(b"{}\n")
    refused = publisher.publish()
    assert (refused.returncode, "error: Declarations/A.jsonl:1" in refused.stderr) == (1, True)
    assert hub.requests == []


def test_the_faults_of_a_corpus_are_told_to_scripts_as_check_tells_them(publisher: Publisher, hub: HubStub) -> None:
    (publisher.folder / "corpus" / "Declarations" / "A.jsonl").write_bytes(b"{}\n")
    refused = publisher.publish("--json")
    checked = publisher.premises("check", str(publisher.folder / "corpus"), "--json")
    assert (refused.returncode, orjson.loads(refused.stdout)) == (1, orjson.loads(checked.stdout))
    assert "Nothing was sent" in refused.stderr


def test_embeddings_that_do_not_fit_are_not_sent(publisher: Publisher, hub: HubStub) -> None:
    np.save(publisher.folder / "vectors.npy", unit_vectors(49))
    refused = publisher.publish(*publisher.with_vectors)
    assert (refused.returncode, "have 49 rows, the corpus has 50 premises" in refused.stderr) == (1, True)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "Publishing needs a token"),
        (READER, "The token may not write to me/premises"),
        ("unknown", "does not know the token"),
    ],
)
def test_who_may_not_publish_is_told_why(publisher: Publisher, hub: HubStub, token: str, said: str) -> None:
    refused = publisher.publish(HF_TOKEN=token)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert revisions_of(hub) == {"main"}


def test_a_data_set_is_made_where_that_is_asked_for(publisher: Publisher, hub: HubStub) -> None:
    arguments = [str(publisher.folder / "corpus"), "--repo", "me/new"]
    refused = publisher.premises("publish", *arguments)
    assert (refused.returncode, "make it with --create" in refused.stderr) == (2, True)
    made = publisher.premises("publish", *arguments, "--create", "--private")
    assert made.returncode == 0, made.stderr
    assert "premises.tar.gz" in files_of(hub, REVISION, "me/new")
    repository = hub.find("datasets", "me/new")
    assert repository is not None
    assert repository.token == WRITER


def test_an_upload_that_fails_leaves_everything_as_it_was(publisher: Publisher, hub: HubStub) -> None:
    before = dict(files_of(hub, "main"))
    hub.refusals["PUT /lfs/"] = 403
    failed = publisher.publish(*publisher.with_vectors)
    assert (failed.returncode, "Traceback" in failed.stderr) == (2, False)
    assert (files_of(hub, "main"), revisions_of(hub)) == (before, {"main"})


def test_what_somebody_else_published_meanwhile_is_not_overwritten(publisher: Publisher, hub: HubStub) -> None:
    hub.refusals["POST /api/datasets/me/premises/commit/"] = 412  # the branch has another last commit by then
    failed = publisher.publish()
    assert (failed.returncode, "was changed by somebody else meanwhile" in failed.stderr) == (2, True)
    assert revisions_of(hub) == {"main"}


def test_a_tag_that_failed_is_made_by_the_next_try_without_another_commit(publisher: Publisher, hub: HubStub) -> None:
    hub.refusals["/tag/"] = 403
    failed = publisher.publish()
    assert (failed.returncode, "not tagged as v4.0.0 yet: run the same command again" in failed.stderr) == (2, True)
    hub.requests.clear()
    assert publisher.publish().returncode == 0
    assert files_of(hub, REVISION) == files_of(hub, "main")
    assert not any("/commit/" in request for request in hub.requests if request.startswith("POST"))


def test_a_corpus_of_another_revision_than_the_tag_is_refused(publisher: Publisher, hub: HubStub) -> None:
    refused = publisher.publish("--revision", "v4.1.0")
    assert (refused.returncode, "is of revision 'v4.0.0', not 'v4.1.0'" in refused.stderr) == (2, True)
    assert hub.uploads() == {}


def test_a_branch_can_be_published_to_without_a_tag(publisher: Publisher, hub: HubStub) -> None:
    assert publisher.publish("--revision", "main").returncode == 0
    assert "manifest.json" in files_of(hub, "main")
    assert revisions_of(hub) == {"main"}


def test_a_hub_that_is_away_is_named(tmp_path: Path) -> None:
    with running_hub() as gone:
        address = gone.url
    write_plain_corpus(tmp_path / "corpus", 5)
    failed = Publisher(address, tmp_path).publish()
    assert (failed.returncode, "Traceback" in failed.stderr) == (2, False)
    assert f"on {address} failed" in failed.stderr


def fetch(publisher: Publisher, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    model = {"MODEL_ID": "me/encoder", "MODEL_REVISION": "v2"}
    return publisher.premises(
        "fetch", "--repo", REPO, "--revision", REVISION, *arguments, **model, **{"HF_TOKEN": "", **variables}
    )


@pytest.fixture
def published(publisher: Publisher, hub: HubStub) -> Publisher:
    """What was published, and the model's own repository."""
    done = publisher.publish(*publisher.with_vectors)
    assert done.returncode == 0, done.stderr
    model = {"config.json": b"{}", "model.safetensors": b"weights"}
    hub.repositories.append(HubRepository("models", "me/encoder", {"v2": model, "main": model}))
    return publisher


def test_what_is_fetched_is_what_was_published_unpacked_and_verified(published: Publisher) -> None:
    report = orjson.loads(fetch(published, "--json").stdout)
    original = read_corpus(published.folder / "corpus")
    assert (report["corpus"]["digest"], report["corpus"]["premises"]) == (original.digest, 50)
    assert (report["corpus"]["is_as_published"], report["is_prepared"]) == (True, False)
    assert read_corpus(Path(report["corpus"]["folder"])).digest == original.digest
    embeddings = report["corpus"]["embeddings"]
    assert (embeddings["rows"], embeddings["dimension"]) == (50, 8)
    assert np.array_equal(np.load(embeddings["path"]), unit_vectors(50))
    assert Path(embeddings["path"]).with_suffix(".json").exists()
    again = orjson.loads(fetch(published, "--json", HF_HUB_OFFLINE="1").stdout)
    assert again["corpus"] == report["corpus"]


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("premises.tar.gz", b"damaged", "is no whole tar archive"),
        ("embeddings/encoder-v2.npy", b"damaged", "were published: remove it and fetch it again"),
        ("embeddings/encoder-v2.json", b'{"revision": "v9"}', "have the revision v9, not v4.0.0"),
        ("manifest.json", b"{}", "is no manifest of a published corpus"),
    ],
)
def test_what_is_not_as_published_is_told_in_a_sentence(
    published: Publisher, hub: HubStub, path: str, content: bytes, said: str
) -> None:
    files_of(hub, REVISION)[path] = content
    refused = fetch(published)
    assert (refused.returncode, said in refused.stderr, "Traceback" in refused.stderr) == (2, True, False)


def test_what_was_published_without_a_manifest_is_verified_by_itself(published: Publisher, hub: HubStub) -> None:
    del files_of(hub, REVISION)["manifest.json"]
    done = fetch(published)
    assert (done.returncode, "nothing published says what it should be" in done.stdout) == (0, True), done.stderr


def test_a_worker_that_is_up_has_the_corpus_prepared_and_another_that_is_served_is_left_alone(
    published: Publisher, tmp_path: Path
) -> None:
    with fake_deployment(tmp_path / "deployment") as deployment, deployment.worker(MODEL_ID="me/encoder"):
        variables = deployment.environment | {"MODEL_ID": "me/encoder"}
        wait_until(lambda: bool(live_workers(deployment.client)))
        data_dir = Path(variables["DATA_DIR"])
        done = published.premises("fetch", "--repo", REPO, "--revision", REVISION, "--json", **variables)
        assert orjson.loads(done.stdout)["is_prepared"], done.stderr
        served = current_snapshot(data_dir)
        demo = published.premises("publish", "demo", "--repo", REPO)
        assert demo.returncode == 0, demo.stderr
        other = published.premises("fetch", "--repo", REPO, "--revision", "demo-1", **variables)
        assert "not prepared (another corpus is served from DATA_DIR)" in other.stdout
        assert current_snapshot(data_dir) == served
        told = published.premises("fetch", "--repo", REPO, "--revision", "demo-1", "--prepare", **variables)
        assert "prepared: the next start serves it at once" in told.stdout
        assert current_snapshot(data_dir) not in (None, served)
