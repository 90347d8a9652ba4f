"""Preparing a corpus: resumed after a kill, refused with a sentence where something does not fit."""

import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from api.snapshot import FORMAT_VERSION, current_snapshot, open_snapshot, withdraw_snapshot
from api.snapshot_writer import publish_snapshot
from shared.demo import demo_corpus_path
from tests.corpora import pack_corpus, unit_vectors
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.processes import Process, prepare_command, run_prepare, running, running_api, status_of

ROWS = 780
READ = "read corpus"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[FakeDeployment]:
    with fake_deployment(tmp_path) as deployment, deployment.worker():
        yield deployment


def refused(deployment: FakeDeployment, **environment: str) -> str:
    """Run a preparation that must fail; returns what it said."""
    with running(prepare_command(), deployment.folder / "prepare.log", deployment.environment | environment) as process:
        assert process.popen.wait(PATIENCE_SECONDS) == 2
        said = process.output()
    assert "Traceback" not in said
    return said.splitlines()[-1]


def kill_halfway(deployment: FakeDeployment) -> int:
    """Kill a preparation once it has marked rows as embedded; returns how many."""
    deployment.gate.write_text("0.2")
    with running(prepare_command(), deployment.folder / "killed.log", deployment.environment) as process:
        wait_until(lambda: marked_rows(deployment) > 0)
        process.stop(signal.SIGKILL)
    deployment.gate.unlink()
    marked = marked_rows(deployment)
    assert 0 < marked < ROWS
    return marked


def test_a_killed_preparation_goes_on_where_it_stopped(deployment: FakeDeployment) -> None:
    marked = kill_halfway(deployment)
    finished = run_prepare(deployment.folder / "prepare.log", deployment.environment)
    assert f"embedding {ROWS - marked} of {ROWS} premises" in finished.output()
    assert len(list((deployment.folder / "state" / "embeddings").glob("*/vectors.npy"))) == 1
    assert list((deployment.folder / "state" / "embeddings").glob("*/*partial*")) == []


@pytest.mark.parametrize("lost", ["partial.npy", "done.npy"])
def test_a_preparation_that_lost_one_of_its_files_serves_no_row_of_zeros(deployment: FakeDeployment, lost: str) -> None:
    kill_halfway(deployment)
    [file] = (deployment.folder / "state" / "embeddings").glob(f"*/{lost}")
    file.unlink()
    run_prepare(deployment.folder / "prepare.log", deployment.environment)
    [vectors] = (deployment.folder / "state" / "embeddings").glob("*/vectors.npy")
    assert np.load(vectors).any(axis=1).all()


def test_a_new_revision_costs_its_changes_alone(deployment: FakeDeployment) -> None:
    corpus = copied_corpus(deployment)
    prepared(deployment, DATA=str(corpus))
    [changed, *_] = sorted((corpus / "Declarations").iterdir())
    changed.write_text(changed.read_text().replace('"kind": "theorem"', '"kind": "axiom"', 2))
    for key in deployment.client.scan_iter("emb:*"):
        deployment.client.delete(key)
    said = prepared(deployment, DATA=str(corpus))
    assert f"{ROWS - 2} of {ROWS} premises are known from other corpora" in said
    assert f"embedding 2 of {ROWS} premises" in said


def test_computed_embeddings_with_a_row_of_zeros_are_refused(deployment: FakeDeployment) -> None:
    run_prepare(deployment.folder / "first.log", deployment.environment)
    [path] = (deployment.folder / "state" / "embeddings").glob("*/vectors.npy")
    vectors = np.load(path)
    vectors[256:512] = 0
    np.save(path, vectors)
    shutil.rmtree(served(deployment))
    said = refused(deployment)
    assert "256 rows" in said
    assert str(path) in said
    path.unlink()
    run_prepare(deployment.folder / "second.log", deployment.environment)


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


def test_a_snapshot_of_an_earlier_format_is_written_anew_without_embedding(deployment: FakeDeployment) -> None:
    prepared(deployment)
    with running_api(deployment.folder / "api.log", outdated(deployment), ready=False) as url:
        health = f"{url}/health/ready"
        wait_until(lambda: f"has format {FORMAT_VERSION - 1}" in httpx.get(health).text)
        assert "embedding" not in prepared(deployment)
        wait_until(lambda: status_of(health) == 200)
    assert open_snapshot(served(deployment)).manifest.format_version == FORMAT_VERSION


def outdated(deployment: FakeDeployment) -> dict[str, str]:
    """Leave the snapshot as a program of the last format would have, under another digest; returns the environment."""
    folder = served(deployment)
    fields = orjson.loads((folder / "manifest.json").read_bytes()) | {"format_version": FORMAT_VERSION - 1}
    (folder / "manifest.json").write_bytes(orjson.dumps(fields))
    publish_snapshot(deployment.folder / "state", folder.rename(folder.with_name("0" * 64)))
    return deployment.environment


def copied_corpus(deployment: FakeDeployment) -> Path:
    folder = deployment.folder / "corpus"
    shutil.copytree(demo_corpus_path(), folder)
    return folder


def prepared(deployment: FakeDeployment, **environment: str) -> str:
    """Run a preparation; returns what it said."""
    log = deployment.folder / f"prepare-{uuid.uuid4().hex}.log"
    return run_prepare(log, deployment.environment | environment).output()


def served(deployment: FakeDeployment) -> Path:
    """The snapshot that replicas serve."""
    snapshot = current_snapshot(deployment.folder / "state")
    assert snapshot is not None
    return snapshot


def test_an_unchanged_source_is_not_read_again(deployment: FakeDeployment) -> None:
    data = str(copied_corpus(deployment))
    assert READ in prepared(deployment, DATA=data)
    first = served(deployment)
    withdraw_snapshot(deployment.folder / "state")
    again = prepared(deployment, DATA=data)
    assert READ not in again
    assert "nothing has changed" in again
    assert served(deployment) == first


def test_an_unchanged_archive_is_not_read_again_until_its_embeddings_change(deployment: FakeDeployment) -> None:
    archive = pack_corpus(copied_corpus(deployment), deployment.folder / "premises.tar.gz")
    np.save(deployment.folder / "given.npy", unit_vectors(ROWS, 8))
    given = {"DATA": str(archive), "EMBEDDINGS": str(deployment.folder / "given.npy")}
    prepared(deployment, **given)
    assert READ not in prepared(deployment, **given)
    np.save(deployment.folder / "given.npy", unit_vectors(ROWS, 8, seed=1))
    before = served(deployment)
    assert READ in prepared(deployment, **given)
    assert served(deployment) != before


def test_a_changed_declaration_is_read(deployment: FakeDeployment) -> None:
    corpus = copied_corpus(deployment)
    prepared(deployment, DATA=str(corpus))
    before = served(deployment)
    [changed, *_] = sorted((corpus / "Declarations").iterdir())
    changed.write_text(changed.read_text().replace("theorem", "axiom", 1))
    assert READ in prepared(deployment, DATA=str(corpus))
    assert served(deployment) != before


def test_a_setting_that_matters_has_the_corpus_read_again(deployment: FakeDeployment) -> None:
    prepared(deployment)
    assert READ in prepared(deployment, CORPUS_ON_BROKEN_LINE="skip-rest")


def test_a_damaged_snapshot_is_made_anew(deployment: FakeDeployment) -> None:
    prepared(deployment)
    (served(deployment) / "names.txt").write_bytes(b"cut")
    assert READ in prepared(deployment)
    assert open_snapshot(served(deployment)).name(0)


def test_a_worker_of_another_namespace_has_everything_made_anew(tmp_path: Path) -> None:
    with fake_deployment(tmp_path) as deployment:
        with deployment.worker(1):
            prepared(deployment)
            before = served(deployment)
        with deployment.worker(2, FAKE_WORKER_NAMESPACE="other"):
            assert READ in prepared(deployment)
        assert open_snapshot(served(deployment)).manifest.namespace == "other"
        assert served(deployment) != before


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
