"""`premises embed` and `premises warm`: nothing is computed twice, and what they compute is used by running servers."""

import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from api.client_spellings import read_spellings
from shared.corpus import Corpus, read_corpus
from tests.corpora import as_lines, declaration, unit_vectors, write_corpus
from tests.embedding_fakes import PATIENCE_SECONDS, FakeEncoder, fake_vector, wait_until
from tests.exposition import Growth, Scrape
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.processes import Process, run_prepare, running, running_api, start

ROWS = 600
STATE = "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[FakeDeployment]:
    with fake_deployment(tmp_path) as deployment, deployment.worker():
        yield deployment


def write_project(folder: Path, *, changed: int = 0) -> Path:
    """600 theorems, of which the first ones read otherwise."""
    lines = [
        declaration(f"My.t{number}", type="False" if number < changed else "True", doc="A fact. ", inModuleSystem=True)
        for number in range(ROWS)
    ]
    return write_corpus(folder, {"My": lines}, revision=f"r{changed}")


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "api.commands.main", *map(str, words)]


def run(deployment: FakeDeployment, *words: str | Path, code: int = 0, **environment: str) -> Process:
    """Run a command to its end."""
    process = start(command(*words), deployment.folder / "command.log", deployment.environment | environment)
    try:
        assert process.popen.wait(2 * PATIENCE_SECONDS) == code, process.output()
    finally:
        process.stop()
    return process


def report_of(process: Process) -> dict[str, dict[str, float]]:
    """The JSON object at the end of the last command's output."""
    text = process.output()
    report: dict[str, dict[str, float]] = orjson.loads(text[text.rindex("\n{\n") :])
    return report


def forget_cached_texts(deployment: FakeDeployment) -> None:
    for key in deployment.client.scan_iter("emb:*"):
        deployment.client.delete(key)


def expected(corpus: Corpus) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return [fake_vector(FakeEncoder().tokenize([premise.text])[0]) for premise in corpus.premises]


def test_the_file_that_is_written_is_what_embeddings_takes(deployment: FakeDeployment) -> None:
    project, npy = write_project(deployment.folder / "project"), deployment.folder / "out" / "project.npy"
    run(deployment, "embed", project, "--output", npy)
    np.testing.assert_array_equal(np.load(npy), expected(read_corpus(project)))
    given = {"DATA": str(project), "EMBEDDINGS": str(npy), "DATA_DIR": str(deployment.folder / "elsewhere")}
    said = run_prepare(deployment.folder / "prepare.log", deployment.environment | given).output()
    assert "nothing says" not in said
    assert "through the queue" not in said


def test_a_new_revision_costs_its_changes_alone(deployment: FakeDeployment) -> None:
    run(deployment, "embed", write_project(deployment.folder / "old"))
    forget_cached_texts(deployment)
    done = report_of(run(deployment, "embed", write_project(deployment.folder / "new", changed=7), "--json"))
    assert (done["premises"]["reused"], done["premises"]["embedded"]) == (ROWS - 7, 7)


def test_texts_in_redis_are_not_computed(deployment: FakeDeployment) -> None:
    project = write_project(deployment.folder / "project")
    run(deployment, "embed", project, "--no-spellings")
    again = run(deployment, "embed", project, "--no-spellings", "--json", DATA_DIR=str(deployment.folder / "elsewhere"))
    assert report_of(again)["premises"]["cached"] == ROWS


def test_a_pair_that_is_named_is_reused(deployment: FakeDeployment) -> None:
    old, npy = write_project(deployment.folder / "old"), deployment.folder / "old.npy"
    run(deployment, "embed", old, "--output", npy)
    forget_cached_texts(deployment)
    new = write_project(deployment.folder / "new", changed=7)
    elsewhere = str(deployment.folder / "elsewhere")
    done = report_of(run(deployment, "embed", new, "--reuse", old, npy, "--json", DATA_DIR=elsewhere))
    assert (done["premises"]["reused"], done["premises"]["embedded"]) == (ROWS - 7, 7)


def test_a_pair_of_which_nothing_says_what_made_it_is_reused_where_the_worker_gives_the_same(
    deployment: FakeDeployment,
) -> None:
    old, npy = write_project(deployment.folder / "old"), deployment.folder / "old.npy"
    run(deployment, "embed", old, "--output", npy)
    npy.with_suffix(".json").unlink()
    forget_cached_texts(deployment)
    new = write_project(deployment.folder / "new", changed=7)
    elsewhere = str(deployment.folder / "elsewhere")
    done = report_of(run(deployment, "embed", new, "--reuse", old, npy, "--json", DATA_DIR=elsewhere))
    assert (done["premises"]["reused"], done["premises"]["embedded"]) == (ROWS - 7, 7)


def test_a_pair_that_another_model_made_is_refused(deployment: FakeDeployment) -> None:
    old, npy = write_project(deployment.folder / "old"), deployment.folder / "old.npy"
    np.save(npy, unit_vectors(ROWS))
    said = run(deployment, "embed", old, "--reuse", old, npy, code=2).output()
    assert "the worker does not give the same" in said.splitlines()[-1]
    assert "Traceback" not in said


def test_given_embeddings_of_this_model_are_reused_though_nothing_says_so(deployment: FakeDeployment) -> None:
    project, npy = write_project(deployment.folder / "project"), deployment.folder / "project.npy"
    run(deployment, "embed", project, "--output", npy)
    npy.with_suffix(".json").unlink()
    elsewhere = str(deployment.folder / "elsewhere")
    run(deployment, "prepare", DATA=str(project), EMBEDDINGS=str(npy), DATA_DIR=elsewhere)
    forget_cached_texts(deployment)
    done = report_of(run(deployment, "embed", project, "--no-spellings", "--json", DATA_DIR=elsewhere))
    assert (done["premises"]["reused"], done["premises"]["embedded"]) == (ROWS, 0)


def test_an_output_that_is_no_npy_is_refused_before_anything_is_computed(deployment: FakeDeployment) -> None:
    said = run(deployment, "embed", "demo", "--output", deployment.folder / "vectors.bin", code=2).output()
    assert "does not end in .npy" in said.splitlines()[-1]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_killed_or_interrupted_command_goes_on_where_it_stopped(
    deployment: FakeDeployment, sent: signal.Signals, code: int
) -> None:
    project = write_project(deployment.folder / "project")
    deployment.gate.write_text("0.2")
    with running(command("embed", project), deployment.folder / "killed.log", deployment.environment) as process:
        wait_until(lambda: marked_rows(deployment) > 0)
        assert process.stop(sent) == code
    deployment.gate.unlink()
    marked = marked_rows(deployment)
    done = report_of(run(deployment, "embed", project, "--json"))["premises"]
    assert 0 < marked < ROWS
    assert done["already_there"] == marked
    assert done["cached"] + done["embedded"] == ROWS - marked  # the worker finished some of them for nobody


def marked_rows(deployment: FakeDeployment) -> int:
    try:
        return sum(
            int(np.count_nonzero(np.load(mark)))
            for mark in (deployment.folder / "state" / "embeddings").glob("*/done.npy")
        )
    except (ValueError, OSError, EOFError):  # the file is just being made
        return 0


def upload(url: str, texts: Sequence[str]) -> Growth:
    """Send texts as new premises; returns what the metrics grew by."""
    new = [{"name": f"new{number}", "decl": text} for number, text in enumerate(texts)]
    before = Scrape.from_api(url)
    body = {"state": STATE, "new_premises": new, "imported_modules": [], "k": 8}
    assert httpx.post(f"{url}/retrieve", json=body, timeout=PATIENCE_SECONDS).status_code == 200
    return Growth(before, Scrape.from_api(url))


@pytest.mark.parametrize("words", [("embed",), ("warm",)])
def test_the_first_hammer_call_of_an_embedded_project_makes_no_job(
    deployment: FakeDeployment, words: tuple[str, ...]
) -> None:
    run_prepare(deployment.folder / "prepare.log", deployment.environment)
    project = write_project(deployment.folder / "project")
    texts = read_spellings(project, read_corpus(project))
    assert "/-- A fact. -/\naxiom My.t0 : True" in texts
    with running_api(deployment.folder / "api.log", deployment.environment) as url:
        upload(url, [])
        wait_until(lambda: Scrape.from_api(url)["premises_known_texts"] > 0)  # those of the demo corpus
        known = Scrape.from_api(url)["premises_known_texts"]
        run(deployment, *words, project)
        forget_cached_texts(deployment)
        wait_until(lambda: Scrape.from_api(url)["premises_known_texts"] >= known + len(texts))
        upload(url, [])
        growth = upload(url, texts[:2048])
    assert growth("premises_jobs_published_total") == 0
    assert growth("premises_cache_hits_total", tier="corpus") == len(texts[:2048])


def test_what_a_client_sent_is_computed_to_the_byte(deployment: FakeDeployment) -> None:
    sent = deployment.folder / "sent"
    sent.mkdir()
    polymorphic = "theorem My.p.{u} {α : Type u} (x : α) : Eq x x"
    body = {"state": STATE, "new_premises": [{"name": "My.p", "decl": polymorphic}]}
    (sent / "1.json").write_bytes(orjson.dumps(body))
    lines = [{"name": "My.q", "decl": "theorem My.q : True", "decl_module_caller": "axiom My.q : True"}]
    (sent / "2.jsonl").write_bytes(as_lines(lines))
    run_prepare(deployment.folder / "prepare.log", deployment.environment)
    done = report_of(run(deployment, "warm", "--texts", sent, "--json"))
    assert done["spellings"]["embedded"] == 3
    forget_cached_texts(deployment)
    with running_api(deployment.folder / "api.log", deployment.environment) as url:
        upload(url, [])
        assert upload(url, [polymorphic, "axiom My.q : True"])("premises_jobs_published_total") == 0


def test_a_file_that_is_no_upload_is_named(deployment: FakeDeployment) -> None:
    (deployment.folder / "notes.txt").write_text("remember the milk\n")
    said = run(deployment, "warm", "--texts", deployment.folder / "notes.txt", code=2).output()
    assert "notes.txt, line 1" in said.splitlines()[-1]


def test_a_damaged_result_is_named(deployment: FakeDeployment) -> None:
    project = write_project(deployment.folder / "project")
    run(deployment, "embed", project, "--no-spellings")
    [vectors] = (deployment.folder / "state" / "embeddings").glob("*/vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:-5])
    assert "it will be computed again" in run(deployment, "embed", project, code=2).output().splitlines()[-1]
    shutil.rmtree(vectors.parent)
    run(deployment, "embed", project, "--no-spellings")
