"""The whole server with a RoBERTa-shaped model, as the production one is, and workers that cannot start."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from shared.corpus import read_corpus
from shared.demo import demo_corpus_path
from tests.embedding_fakes import PATIENCE_SECONDS
from tests.integration.conftest import Server, make_server
from tests.model_folders import write_json, write_model_folder
from tests.processes import running, worker_command

GOAL = "s t : Set α\n⊢ Eq (Inter.inter s t) (Inter.inter t s)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_folder(tmp_path_factory.mktemp("models") / "roberta", "roberta")


@pytest.fixture(scope="module")
def roberta_server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as stack:
        yield make_server(stack, tmp_path_factory.mktemp("roberta-server"), replicas=1, MODEL_ID=str(folder))


def test_a_roberta_shaped_model_ranks_as_sentence_transformers_does(roberta_server: Server, folder: Path) -> None:
    premises = read_corpus(demo_corpus_path()).premises
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    vectors = model.encode([premise.text for premise in premises] + [GOAL], show_progress_bar=False)
    scores = vectors[:-1] @ vectors[-1]
    best = np.argsort(-scores, kind="stable")[:8]
    answer = roberta_server.client().post("/retrieve", json={"state": GOAL, "k": 8}).json()
    assert [premise["name"] for premise in answer] == [premises[row].name for row in best]
    np.testing.assert_allclose([premise["score"] for premise in answer], scores[best], atol=1e-4)


def refusal(tmp_path: Path, **environment: str) -> str:
    """Start a worker that must not start; returns what it said."""
    with running(worker_command(), tmp_path / "worker.log", environment) as process:
        assert process.popen.wait(PATIENCE_SECONDS) == 2
        said = process.output()
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


def test_a_model_with_another_module_ends_the_worker_with_a_sentence(folder: Path, tmp_path: Path) -> None:
    dense = write_model_folder(tmp_path / "dense", "bert")
    kinds = ["Transformer", "Pooling", "Dense"]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in kinds]
    write_json(dense / "modules.json", modules)
    assert "Dense" in refusal(tmp_path, MODEL_ID=str(dense))


def test_a_model_folder_that_is_not_there_ends_the_worker_with_a_sentence(tmp_path: Path) -> None:
    assert "no-such-model" in refusal(tmp_path, MODEL_ID=str(tmp_path / "no-such-model"))


def test_an_unusable_dtype_ends_the_worker_with_a_sentence(tmp_path: Path) -> None:
    assert "DTYPE" in refusal(tmp_path, DTYPE="float8")
