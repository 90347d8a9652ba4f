"""`premises evaluate` and `premises compare` as their users run them, over real servers and workers without weights."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.commands.corpora_watch import forget_removed
from shared.demo import demo_corpus_path, demo_evaluation_path
from shared.messages import Priority
from shared.redis_client import leases_key
from tests.corpora import as_lines
from tests.embedding_fakes import wait_until
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.prefix_proxy import PASSWORD, USER, running_prefix_proxy
from tests.processes import run_prepare, running, running_api

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
SECONDS = 240
PREFIX = "/v4.32.0"


@dataclass
class Served:
    """An API with a key over the demo corpus, and the deployment behind it."""

    url: str
    log: Path
    deployment: FakeDeployment

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`premises` with the settings of the deployment and the key, each in the environment."""
        return subprocess.run(
            premises_command(*arguments), capture_output=True, text=True, timeout=SECONDS, check=False,
            env={"PATH": os.environ["PATH"], "PREMISES_API_KEY": KEY, **self.deployment.environment, **environment},
        )  # fmt: skip

    def summary(self, *arguments: str, **environment: str) -> dict[str, Any]:
        done = self.run("evaluate", "--json", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary


def premises_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "api.commands.main", *arguments]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        deployment = stack.enter_context(fake_deployment(tmp_path_factory.mktemp("evaluate")))
        stack.enter_context(deployment.worker())
        run_prepare(deployment.folder / "prepare.log", deployment.environment)
        log = deployment.folder / "api.log"
        settings = {"API_KEYS": KEY, "MAX_QUEUED_STATE_TOKENS": "600"}
        yield Served(stack.enter_context(running_api(log, deployment.environment | settings)), log, deployment)


def ranks_of(path: Path) -> list[tuple[str, list[int]]]:
    run = json.loads(path.read_text())
    return [(query["decl_name"], query["ranks"]) for query in run["answered"]]


def test_the_demo_set_is_evaluated_without_any_argument_but_the_address(served: Served) -> None:
    done = served.run("evaluate", "--server", served.url)
    assert done.returncode == 0, done.stderr
    queries = len(demo_evaluation_path().read_text().splitlines())
    assert f"evaluation.jsonl: {queries} queries" in done.stdout
    assert len(re.findall(r"^(?:1|4|8|16|32|64|128|256)  +\d\.\d{3} \[", done.stdout, re.MULTILINE)) == 8
    assert "Mathlib.Algebra" in done.stdout
    assert "queries/s" in done.stderr
    assert KEY not in done.stdout + done.stderr


def test_a_server_and_this_process_rank_the_same_to_the_last_place(served: Served, tmp_path: Path) -> None:
    served.summary("--server", served.url, "--output", str(tmp_path / "http.json"))
    served.summary("--in-process", "--output", str(tmp_path / "process.json"))
    over_http, in_process = ranks_of(tmp_path / "http.json"), ranks_of(tmp_path / "process.json")
    assert over_http == in_process
    assert len(over_http) > 50
    done = served.run("compare", str(tmp_path / "http.json"), str(tmp_path / "process.json"), "--json")
    rows = json.loads(done.stdout)["differences"]["process"]["rows"]
    assert {row["recall"]["mean"] for row in rows} == {0.0}


def test_a_saved_run_tells_all_that_it_takes_to_do_it_again_and_no_key(served: Served, tmp_path: Path) -> None:
    address = served.url.replace("://", f"://user:{KEY}@")
    path = tmp_path / "run.json"
    served.summary("--server", address, "--limit", "3", "--output", str(path), PREMISES_API_KEY="")
    saved = json.loads(path.read_text())
    made = saved["provenance"]
    assert made["revision"] == "demo-1"
    assert made["answerer"]["namespace"] == "fake"
    assert made["answerer"]["selector"] == "dense"
    assert made["answerer"]["corpus_digest"] == made["corpus_digest"]
    assert made["answerer"]["server"] == served.url
    assert made["command"]["limit"] == 3
    assert len(saved["answered"]) == 3
    assert KEY not in path.read_text()
    assert not path.with_name("run.json.partial").exists()


def test_busy_servers_are_asked_again(served: Served) -> None:
    before = served.log.read_text().count("POST /retrieve 429")
    served.deployment.gate.write_text("0.5")
    try:
        fresh = [fresh_item(number, "busy") for number in range(24)]
        path = served.deployment.folder / "busy.jsonl"
        path.write_bytes(as_lines(fresh))
        summary = served.summary(str(path), "--server", served.url, "--concurrency", "24")
    finally:
        served.deployment.gate.unlink()
    assert summary["overall"]["queries"] == 24
    assert served.log.read_text().count("POST /retrieve 429") > before, (
        "nothing was refused, so nothing was tried again"
    )


def fresh_item(number: int, label: str) -> dict[str, object]:
    """A query that no other test has asked, so that its goal is not cached."""
    item = json.loads(demo_evaluation_path().read_text().splitlines()[number])
    return {**item, "state": f"{label} {number} : Nat\n{item['state']}"}


def test_below_a_prefix_and_behind_a_password_it_is_the_same(served: Served) -> None:
    with (
        running_api(served.deployment.folder / "open.log", served.deployment.environment) as api,
        running_prefix_proxy(api, PREFIX) as origin,
    ):
        login = f"{USER}:{PASSWORD.replace(':', '%3A')}"
        address = origin.replace("://", f"://{login}@") + PREFIX
        summary = served.summary("--server", address, "--limit", "5", PREMISES_API_KEY="")
    assert summary["overall"]["queries"] == 5


def test_an_interrupted_evaluation_goes_on_where_it_stopped(served: Served, tmp_path: Path) -> None:
    path, output = tmp_path / "eval.jsonl", tmp_path / "run.json"
    path.write_bytes(as_lines([fresh_item(number, "torn") for number in range(12)]))
    partial = tmp_path / "run.json.partial"
    arguments = ["evaluate", str(path), "--server", served.url, "--output", str(output), "--concurrency", "1"]
    environment = {"PREMISES_API_KEY": KEY, **served.deployment.environment}
    served.deployment.gate.write_text("0.2")
    try:
        with running(premises_command(*arguments), tmp_path / "log", environment) as process:
            wait_until(lambda: partial.exists() and partial.read_bytes().count(b"\n") >= 3)
            served.deployment.gate.write_text("")  # no more of them before the signal is there
            assert process.stop(signal.SIGINT) == 130
            said = process.output()
            wait_until(lambda: not served.deployment.client.zcard(leases_key("fake", Priority.STATE)))  # it is noticed
    finally:
        served.deployment.gate.unlink()
    kept = partial.read_bytes().count(b"\n") - 1
    assert f"{kept} answers are kept in {partial}" in said
    assert "Traceback" not in said
    asked = served.log.read_text().count("POST /retrieve 200")
    done = served.run(*arguments)
    assert done.returncode == 0, done.stderr
    more = 12 - kept + 1  # and the first look
    wait_until(lambda: served.log.read_text().count("POST /retrieve 200") - asked >= more)  # logged once they are sent
    assert served.log.read_text().count("POST /retrieve 200") - asked == more
    assert len(ranks_of(output)) == 12
    assert not partial.exists()


def test_a_server_that_gives_fewer_premises_than_asked_for_is_found_out(served: Served) -> None:
    with running_api(served.deployment.folder / "clamp.log", served.deployment.environment | {"MAX_K": "16"}) as api:
        refused = served.run("evaluate", "--server", api)
        assert refused.returncode == 2
        assert "16 premises came where 256 were asked for" in refused.stderr
        assert "MAX_K" in refused.stderr
        assert served.summary("--server", api, "--k", "1,16")["overall"]["queries"] > 50


def test_queries_that_cannot_be_evaluated_are_counted(served: Served, tmp_path: Path) -> None:
    unknown = {**fresh_item(1, "left"), "module": "No.Such"}
    nothing = {**fresh_item(2, "left"), "relevant": ["no.such.premise"]}
    some = fresh_item(3, "left")
    some["relevant"] = [*some["relevant"], "no.such.premise"]  # type: ignore[misc] # a list, as in the file
    path = tmp_path / "eval.jsonl"
    path.write_bytes(as_lines([unknown, nothing, some]))
    summary = served.summary(str(path), "--server", served.url)
    assert summary["overall"]["queries"] == 1
    assert summary["left_out"] == {"module is not in the corpus": 1, "no relevant premise is accessible": 1}
    assert summary["inaccessible"] == 1
    path.write_bytes(as_lines([unknown]))
    refused = served.run("evaluate", str(path), "--server", served.url)
    assert refused.returncode == 2
    assert "line 1" in refused.stderr


def test_goals_that_the_server_refuses_are_counted_and_end_with_1(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_bytes(as_lines([fresh_item(1, "fine"), {**fresh_item(2, "long"), "state": "x" * 1_000_001}]))
    done = served.run("evaluate", str(path), "--server", served.url)
    assert done.returncode == 1, done.stderr
    assert "1 queries: refused" in done.stdout


def test_where_every_goal_is_refused_it_is_reported_all_the_same(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_bytes(as_lines([{**fresh_item(2, "long"), "state": "x" * 1_000_001}]))
    done = served.run("evaluate", str(path), "--server", served.url, "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["left_out"] == {"refused": 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--server", "http://127.0.0.1:9"], "No server answers"),
        (["--server", "host:8000"], "--server takes an address"),
        (["--server", "http://[::"], "--server takes an address"),
        (["--key", "kéy"], "PREMISES_API_KEY"),
        (["--limit", "3", "--sample", "3"], "exclude each other"),
        (["--k", "0"], "smallest place is 1"),
        (["--k", "99999999999999999999"], "at most 10000"),
        (["--plot", "recall.txt"], "ends in"),
        (["missing.jsonl"], "cannot be read"),
        (["--data", "missing.tar.gz"], "There is no corpus"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(served: Served, arguments: list[str], said: str) -> None:
    done = served.run("evaluate", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_is_missing_and_a_corpus_that_is_another_are_told(served: Served, tmp_path: Path) -> None:
    without = served.run("evaluate", "--server", served.url, PREMISES_API_KEY="")
    assert without.returncode == 2
    assert "PREMISES_API_KEY" in without.stderr
    other = tmp_path / "corpus"
    subprocess.run(["cp", "-r", str(demo_corpus_path()), str(other)], check=True)
    declarations = other / "Declarations" / "Init.Prelude.jsonl"
    declarations.write_text("".join(declarations.read_text().splitlines(keepends=True)[:-1]))
    mixed = served.run("evaluate", "--server", served.url, "--data", str(other))
    assert mixed.returncode == 2
    assert "serves another corpus" in mixed.stderr


def test_a_selector_that_the_server_does_not_rank_by_is_told(served: Served) -> None:
    assert served.summary("--server", served.url, "--selector", "dense", "--limit", "2")["overall"]["queries"] == 2


def test_without_redis_or_worker_an_evaluation_in_process_says_how_to_get_them(served: Served, tmp_path: Path) -> None:
    away = served.run("evaluate", "--in-process", REDIS_URL="redis://127.0.0.1:9/0", DATA_DIR=str(tmp_path))
    assert away.returncode == 2
    assert "No Redis answers" in away.stderr
    assert "make serve" in away.stderr
    none = served.run("evaluate", "--in-process", MODEL_ID="another-model", DATA_DIR=str(tmp_path))
    assert none.returncode == 2
    assert "make serve" in none.stderr


def test_an_evaluation_in_process_leaves_what_replicas_serve_as_it_is(served: Served, tmp_path: Path) -> None:
    state = served.deployment.folder / "state"
    before = (state / "snapshots" / "current").read_text()
    other = demo_of_another_revision(tmp_path)
    summary = served.summary("--in-process", "--data", str(other), "--limit", "2")
    assert summary["provenance"]["revision"] == "demo-2"
    assert (state / "snapshots" / "current").read_text() == before


def test_an_evaluation_in_process_keeps_its_snapshot_while_others_are_pruned(served: Served, tmp_path: Path) -> None:
    queries = tmp_path / "eval.jsonl"
    os.mkfifo(queries)  # which is read, and so waited for, when the snapshot is there and not yet mapped
    command = premises_command(
        "evaluate", str(queries), "--in-process", "--data", str(demo_of_another_revision(tmp_path))
    )
    with running(command, tmp_path / "log", served.deployment.environment) as process:
        writing: list[int] = []
        wait_until(lambda: process.popen.poll() is not None or open_if_read(queries, writing), SECONDS)
        assert writing, process.output()
        forget_removed(served.deployment.folder / "state", {})
        with os.fdopen(writing[0], "wb") as file:
            file.write(as_lines([fresh_item(1, "pruned")]))
        assert process.popen.wait(SECONDS) == 0, process.output()


def demo_of_another_revision(folder: Path) -> Path:
    """A corpus whose snapshot no replica maps and nothing names."""
    other = folder / "corpus"
    subprocess.run(["cp", "-r", str(demo_corpus_path()), str(other)], check=True)
    (other / "revision").write_text("demo-2\n")
    return other


def open_if_read(pipe: Path, opened: list[int]) -> bool:
    """Open a named pipe for writing once somebody reads it."""
    with suppress(OSError):
        opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    return bool(opened)
