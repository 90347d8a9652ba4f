"""Preparing a corpus: resumed after a kill, refused with a sentence where something does not fit."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.demo import demo_corpus_path
from tests.embedding_fakes import wait_until
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.processes import Process, prepare_command, run_prepare, running

ROWS = 780


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[FakeDeployment]:
    with fake_deployment(tmp_path) as deployment, deployment.worker():
        yield deployment


def refused(deployment: FakeDeployment, **environment: str) -> str:
    """Run a preparation that must fail; returns what it said."""
    with running(prepare_command(), deployment.folder / "prepare.log", deployment.environment | environment) as process:
        assert process.popen.wait(60) == 2
        said = process.output()
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_a_killed_preparation_goes_on_where_it_stopped(deployment: FakeDeployment) -> None:
    deployment.gate.write_text("0.2")
    log = deployment.folder / "prepare.log"
    with running(prepare_command(), log, deployment.environment) as process:
        wait_until(lambda: marked_rows(deployment) > 0, 60)
        process.stop(signal.SIGKILL)
    marked = marked_rows(deployment)
    assert 0 < marked < ROWS
    deployment.gate.unlink()
    finished = run_prepare(log, deployment.environment)
    assert f"embedding {ROWS - marked} of {ROWS} premises" in finished.output()
    assert len(list((deployment.folder / "state" / "embeddings").glob("*/vectors.npy"))) == 1
    assert list((deployment.folder / "state" / "embeddings").glob("*/*partial*")) == []


def marked_rows(deployment: FakeDeployment) -> int:
    [*marks] = (deployment.folder / "state" / "embeddings").glob("*/done.npy")
    try:
        return sum(int(np.count_nonzero(np.load(mark))) for mark in marks)
    except (ValueError, OSError, EOFError):  # the file is just being made
        return 0


def test_a_second_preparation_computes_nothing(deployment: FakeDeployment) -> None:
    run_prepare(deployment.folder / "first.log", deployment.environment)
    second: Process = run_prepare(deployment.folder / "second.log", deployment.environment)
    assert "embedding" not in second.output()


def test_embeddings_with_too_few_rows_are_refused(deployment: FakeDeployment) -> None:
    path = deployment.folder / "few.npy"
    np.save(path, np.eye(8, dtype=np.float32))
    said = refused(deployment, EMBEDDINGS=str(path))
    assert str(path) in said
    assert "780" in said


def test_embeddings_of_another_dimension_are_refused(deployment: FakeDeployment) -> None:
    path = deployment.folder / "wide.npy"
    np.save(path, np.tile(np.eye(1, 16, dtype=np.float32), (ROWS, 1)))
    assert "16" in refused(deployment, EMBEDDINGS=str(path))


def test_embeddings_of_another_dtype_are_refused(deployment: FakeDeployment) -> None:
    path = deployment.folder / "whole.npy"
    np.save(path, np.zeros((ROWS, 8), np.int64))
    assert "int64" in refused(deployment, EMBEDDINGS=str(path))


def test_a_missing_embeddings_file_is_named(deployment: FakeDeployment) -> None:
    assert "nowhere.npy" in refused(deployment, EMBEDDINGS="nowhere.npy")


def test_a_missing_corpus_is_named(deployment: FakeDeployment) -> None:
    assert "no-such-corpus.tar.gz" in refused(deployment, DATA="no-such-corpus.tar.gz")


def test_a_broken_line_is_named_with_file_and_number(deployment: FakeDeployment) -> None:
    broken = deployment.folder / "broken"
    shutil.copytree(demo_corpus_path(), broken)
    declarations = broken / "Declarations" / "Init.Data.Nat.Basic.jsonl"
    lines = declarations.read_text().splitlines()
    declarations.write_text("\n".join([*lines[:4], '{"name": "cut', *lines[5:]]) + "\n")
    said = refused(deployment, DATA=str(broken))
    assert "Init.Data.Nat.Basic.jsonl" in said
    assert "5" in said
    skipping = deployment.environment | {"DATA": str(broken), "CORPUS_ON_BROKEN_LINE": "skip-rest"}
    assert "WARNING" in run_prepare(deployment.folder / "skip.log", skipping).output()


def test_a_declaration_of_an_unlisted_module_is_refused(deployment: FakeDeployment) -> None:
    stray = deployment.folder / "stray"
    shutil.copytree(demo_corpus_path(), stray)
    shutil.copy(stray / "Declarations" / "Init.Core.jsonl", stray / "Declarations" / "Not.Listed.jsonl")
    assert "Not.Listed" in refused(deployment, DATA=str(stray))


def test_an_unusable_setting_is_named(deployment: FakeDeployment) -> None:
    assert "MAX_K" in refused(deployment, MAX_K="many")
