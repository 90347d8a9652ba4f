"""Corpus, embeddings and model from a hub on this machine; each fetch is a process, as HF_* is read at import."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shared.corpus import read_corpus
from tests.corpora import pack_corpus, unit_vectors, write_plain_corpus
from tests.hub_repositories import Fault, HubRepository, HubStub
from tests.hub_stub import running_hub

DATA_REPO = "someone/premises"
MODEL_ID = "someone/encoder"
PRIVATE_MODEL = "someone/private"
REVISION = "v4.0.0"
TOKEN = "hf_of_the_operator"  # noqa: S105 - of the stub

FETCH = """
import sys
from shared import artifacts
from shared.errors import PremiseServerError
from shared.settings import load_settings
try:
    print(getattr(artifacts, sys.argv[1])(load_settings()))
except PremiseServerError as error:
    print(f"{type(error).__name__}: {error}")
"""


@dataclass(frozen=True)
class Operator:
    """Somebody who starts the server with a hub and a data folder of their own."""

    hub_url: str
    folder: Path

    def fetch(self, function: str, **variables: str) -> str:
        """Call a function of shared.artifacts in a process of its own; its result, or its error, as text."""
        command = [sys.executable, "-c", FETCH, function]
        environment = self.environment | variables
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=240)
        return done.stdout.strip()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that this operator sets."""
        return {
            "PATH": os.environ["PATH"],
            "HF_ENDPOINT": self.hub_url,
            "HF_HOME": str(self.folder / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "DATA_DIR": str(self.folder / "state"),
            "DATA_REPO": DATA_REPO,
            "DATA_REVISION": REVISION,
            "MODEL_ID": MODEL_ID,
            "MODEL_REVISION": REVISION,
        }

    def fetch_all(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `premises fetch`."""
        command = [sys.executable, "-m", "api.commands.main", "fetch"]
        environment = self.environment | variables
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)

    def partial_files(self) -> list[Path]:
        """What looks like an unfinished download or archive."""
        return [path for path in self.folder.rglob("*") if path.suffix in (".incomplete", ".partial")]


def npy(vectors: np.typing.NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, vectors)
    return file.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("packed")
    return pack_corpus(write_plain_corpus(folder / "corpus", 500), folder / "premises.tar.gz").read_bytes()


@pytest.fixture
def hub(archive: bytes) -> Iterator[HubStub]:
    data = {
        REVISION: {"premises.tar.gz": archive, f"embeddings/encoder-{REVISION}.npy": npy(unit_vectors(500))},
        "v4.1.0": {"premises.tar.gz": archive},
        "main": {"premises.tar.gz": archive},
        "empty": {"README.md": b"to come"},
    }
    model = {
        "config.json": b"{}",
        "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
        "model.safetensors": b"weights" * 100,
        "pytorch_model.bin": b"the same weights" * 100,
        "onnx/model.onnx": b"again",
        "onnx/config.json": b"{}",
    }
    older = {name: content for name, content in model.items() if name != "model.safetensors"}
    with running_hub(
        HubRepository("datasets", DATA_REPO, data),
        HubRepository("datasets", "someone/secret", data, gated=True),
        HubRepository("models", PRIVATE_MODEL, {REVISION: model}, token=TOKEN),
        HubRepository("models", MODEL_ID, {REVISION: model, "main": model, "older": older}),
    ) as stub:
        yield stub


@pytest.fixture
def operator(hub: HubStub, tmp_path: Path) -> Operator:
    return Operator(hub.url, tmp_path)


def test_the_corpus_of_a_revision_is_fetched_once(operator: Operator, hub: HubStub) -> None:
    folder = operator.fetch("open_corpus_folder")
    assert len(read_corpus(Path(folder)).premises) == 500
    assert operator.fetch("open_corpus_folder") == folder
    assert hub.downloads() == {"premises.tar.gz": 1}


def test_the_embeddings_of_the_model_revision_are_fetched(operator: Operator) -> None:
    path = operator.fetch("find_embeddings")
    assert np.array_equal(np.load(path), unit_vectors(500))


def test_embeddings_that_the_hub_does_not_have_are_to_be_computed(operator: Operator) -> None:
    assert operator.fetch("find_embeddings", MODEL_REVISION="other") == "None"
    assert operator.fetch("find_embeddings", MODEL_REVISION="other", HF_HUB_OFFLINE="1") == "None"


def test_a_model_comes_with_one_kind_of_weights(operator: Operator, hub: HubStub) -> None:
    folder = Path(operator.fetch("model_folder"))
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == ["1_Pooling/config.json", "config.json", "model.safetensors"]
    assert hub.downloads().total() == 3


def test_a_model_without_safetensors_comes_with_its_older_weights(operator: Operator) -> None:
    folder = Path(operator.fetch("model_folder", MODEL_REVISION="older"))
    assert (folder / "pytorch_model.bin").is_file()
    assert not (folder / "onnx").exists()


def test_a_model_without_revision_is_that_of_the_main_branch(operator: Operator) -> None:
    assert (Path(operator.fetch("model_folder", MODEL_REVISION="")) / "config.json").is_file()


def test_offline_mode_uses_what_was_fetched(operator: Operator, hub: HubStub) -> None:
    names = ("open_corpus_folder", "find_embeddings", "model_folder")
    online = [operator.fetch(name) for name in names]
    asked = len(hub.requests)
    assert [operator.fetch(name, HF_HUB_OFFLINE="1") for name in names] == online
    assert len(hub.requests) == asked


@pytest.mark.parametrize("name", ["open_corpus_folder", "find_embeddings", "model_folder"])
def test_offline_mode_says_what_was_never_fetched(operator: Operator, hub: HubStub, name: str) -> None:
    answer = operator.fetch(name, HF_HUB_OFFLINE="1")
    assert answer.startswith("ArtifactError: HF_HUB_OFFLINE is set, but ")
    assert "is not in the cache" in answer
    assert hub.requests == []


@pytest.mark.parametrize("name", ["open_corpus_folder", "find_embeddings", "model_folder"])
def test_a_missing_revision_is_named_with_its_variable(operator: Operator, name: str) -> None:
    answer = operator.fetch(name, DATA_REVISION="v9", **({"MODEL_REVISION": "v9"} if name == "model_folder" else {}))
    variable = "MODEL_REVISION" if name == "model_folder" else "DATA_REVISION"
    assert "has no revision 'v9' on the hub" in answer
    assert f"set {variable} to one that it has" in answer


@pytest.mark.parametrize(
    ("name", "variable"),
    [("open_corpus_folder", "DATA_REPO"), ("find_embeddings", "DATA_REPO"), ("model_folder", "MODEL_ID")],
)
def test_a_missing_repository_is_named_with_its_variable(operator: Operator, name: str, variable: str) -> None:
    answer = operator.fetch(name, **{variable: "nobody/nothing"})
    assert "nobody/nothing: check " + variable in answer
    assert "HF_TOKEN" in answer


def test_a_gated_repository_asks_for_a_token(operator: Operator) -> None:
    answer = operator.fetch("open_corpus_folder", DATA_REPO="someone/secret")
    assert "lets only accepted accounts read someone/secret" in answer


def test_a_name_that_no_repository_can_have_is_named(operator: Operator) -> None:
    assert "DATA_REPO='a b' is no name" in operator.fetch("open_corpus_folder", DATA_REPO="a b")


def test_a_revision_without_archive_is_named(operator: Operator) -> None:
    answer = operator.fetch("open_corpus_folder", DATA_REVISION="empty")
    assert "has no premises.tar.gz at empty" in answer


def test_an_archive_of_another_revision_is_refused(operator: Operator) -> None:
    answer = operator.fetch("open_corpus_folder", DATA_REVISION="v4.1.0")
    assert answer.startswith("CorpusError: ")
    assert "at v4.1.0 holds a corpus of revision 'v4.0.0'" in answer


def test_a_branch_says_nothing_of_the_archives_revision(operator: Operator) -> None:
    assert len(read_corpus(Path(operator.fetch("open_corpus_folder", DATA_REVISION="main"))).premises) == 500


@pytest.mark.parametrize("fault", ["reset", "short"])
def test_a_broken_download_is_told_and_the_next_start_mends_it(operator: Operator, hub: HubStub, fault: Fault) -> None:
    hub.faults["premises.tar.gz"] = fault
    answer = operator.fetch("open_corpus_folder")
    assert answer.startswith("ArtifactError: Fetching premises.tar.gz of someone/premises at v4.0.0 from ")
    assert "start again; nothing half-fetched was kept" in answer
    assert operator.partial_files() == []
    assert len(read_corpus(Path(operator.fetch("open_corpus_folder"))).premises) == 500


def test_a_connection_cut_in_the_middle_is_resumed(operator: Operator, hub: HubStub) -> None:
    hub.faults["premises.tar.gz"] = "cut"
    assert len(read_corpus(Path(operator.fetch("open_corpus_folder"))).premises) == 500
    assert hub.downloads() == {"premises.tar.gz": 2}


def test_a_broken_model_download_is_told(operator: Operator, hub: HubStub) -> None:
    hub.faults["model.safetensors"] = "short"
    assert operator.fetch("model_folder").startswith("ArtifactError: Fetching the model of someone/encoder at v4.0.0")
    assert (Path(operator.fetch("model_folder")) / "model.safetensors").stat().st_size == 700


def test_a_hub_that_is_away_is_named(tmp_path: Path) -> None:
    with running_hub() as gone:
        address = gone.url
    answer = Operator(address, tmp_path).fetch("model_folder")
    assert answer.startswith(f"ArtifactError: The hub {address} does not answer")


def test_one_command_fetches_all_that_is_named(operator: Operator, hub: HubStub) -> None:
    models = f'[{{"model_id": "{PRIVATE_MODEL}", "model_revision": "{REVISION}"}}]'
    done = operator.fetch_all(MODELS=models, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"model {MODEL_ID}",
        f"model {PRIVATE_MODEL}",
        f"corpus {DATA_REPO} at {REVISION}",
        "unpacked",
        "verified",
        f"its embeddings by {MODEL_ID}",
        "verified",
        "not prepared (Redis cannot be reached",
    ]
    assert all(Path(lines[number].partition(": ")[2]).exists() for number in (0, 1, 2, 3, 5))
    downloads = hub.downloads().total()
    assert operator.fetch_all(MODELS=models, HF_TOKEN=TOKEN).stdout == done.stdout
    assert operator.fetch_all(MODELS=models, HF_HUB_OFFLINE="1").stdout == done.stdout
    assert hub.downloads().total() == downloads


def test_the_token_is_shown_by_that_command_alone(operator: Operator, hub: HubStub) -> None:
    operator.fetch("model_folder", HF_TOKEN=TOKEN)
    assert set(hub.authorizations) == {None}
    refused = operator.fetch("model_folder", MODEL_ID=PRIVATE_MODEL, HF_TOKEN=TOKEN)
    assert "premises fetch" in refused
    operator.fetch_all(MODEL_ID=PRIVATE_MODEL, HF_TOKEN=TOKEN)
    assert f"Bearer {TOKEN}" in hub.authorizations
    hub.authorizations.clear()
    assert Path(operator.fetch("model_folder", MODEL_ID=PRIVATE_MODEL)).is_dir()
    assert set(hub.authorizations) == {None}


def test_what_cannot_be_fetched_is_a_sentence_and_an_exit_code(operator: Operator) -> None:
    done = operator.fetch_all(MODEL_ID="someone/nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert "someone/nothing: check MODEL_ID" in done.stderr
    assert "Traceback" not in done.stderr
