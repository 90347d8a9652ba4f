"""Texts that no worker can embed: they fail their own request, become dead letters, and end no worker for ever."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.messages import Priority
from shared.redis_client import attempts_key
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import NAMESPACE, SOON, Deployment
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, body_of, post, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.processes import Process, start

MEMORY_TOKENS = 400
LONGEST_SECONDS = 170
"""In which three workers end and start on any machine; clients wait a little longer."""


def letters(deployment: Deployment, *options: str) -> list[dict[str, Any]]:
    listed = deployment.run_celery("dead-letters", "list", "--json", *options)
    assert listed.popen.returncode == 0, listed.output()
    return [json.loads(line) for line in listed.output().splitlines()]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a poison for the model", "model_error"),
        ("untokenizable", "tokenizer_error"),
        ("exhausts the memory ".ljust(MEMORY_TOKENS + 1, "m"), "out_of_memory"),
        ("give nan", "not_finite"),
    ],
    ids=["model", "tokenizer", "memory", "not finite"],
)
def test_a_poison_fails_its_own_request_not_its_neighbours_and_becomes_a_dead_letter(
    deploy: Deploy, background: Background, text: str, kind: str
) -> None:
    with deploy(FAKE_WORKER_MEMORY_TOKENS=str(MEMORY_TOKENS)) as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        deployment.gate.write_text("0.1")  # so that all wait for the same batches
        poisoned = background.post(replica.url, body_of("⊢ a goal", [*texts("own", 70), text]))
        neighbours = [background.post(replica.url, body_of(f"⊢ {n}", texts(f"other {n}", 20))) for n in range(3)]
        refused = poisoned.result(LONGEST_SECONDS)
        assert refused.status == 422
        assert isinstance(refused.answer, dict)
        assert "'new_70'" in refused.answer["detail"]
        heard = [each.result(LONGEST_SECONDS) for each in neighbours]
        assert [(each.status, each.wrong) for each in heard] == [(200, False)] * 3
        [letter] = letters(deployment)
        assert [error["kind"] for error in letter["errors"]] == [kind]
        assert (letter["class"], "texts" in letter) == ("bulk", False)
        assert letters(deployment, "--texts")[0]["texts"] == [text]
        wait_until(deployment.is_idle)


def _ended(worker: Process) -> Callable[[], bool]:
    return lambda: worker.popen.poll() is not None


def keep_alive(deployment: Deployment, worker: Process, until: float) -> int:
    """Start another worker whenever one has died, as a supervisor does; returns how many had died."""
    died = 0
    while time.monotonic() < until and died < 3:
        wait_until(_ended(worker), until - time.monotonic())
        died += 1
        worker = deployment.start_worker()
    return died


def test_a_text_that_kills_workers_is_refused_after_three_and_its_neighbours_are_answered(
    deploy: Deploy, background: Background, faults: list[Fault]
) -> None:
    with deploy(**SOON, RETRIEVE_TIMEOUT_SECONDS=str(LONGEST_SECONDS)) as deployment:
        worker = deployment.start_worker()
        replica = deployment.start_replica()
        deployment.gate.write_text("0.1")
        killing = background.post(replica.url, body_of("⊢ a goal", [*texts("own", 30), "kills the worker"]))
        others = [background.post(replica.url, body_of(f"⊢ {n}", texts(f"other {n}", 30))) for n in range(3)]
        started = time.monotonic()
        assert keep_alive(deployment, worker, started + LONGEST_SECONDS) == 3
        refused = killing.result(LONGEST_SECONDS)
        assert refused.status == 422, refused.answer
        assert isinstance(refused.answer, dict)
        assert "'new_30'" in refused.answer["detail"]
        heard = [each.result(LONGEST_SECONDS) for each in others]
        assert [(each.status, each.wrong) for each in heard] == [(200, False)] * 3
        recovery = time.monotonic() - started
        faults.append(Fault.seen("text that kills each worker", heard, recovery, tried=3, in_flight=1 + len(heard)))
        [letter] = letters(deployment)
        assert letter["errors"][0]["kind"] == "worker_lost"
        wait_until(lambda: deployment.client.hlen(attempts_key(NAMESPACE)) == 1)  # no neighbour is suspected still
        again = post(replica.url, body_of("⊢ again", ["kills the worker"]))
        assert again.status == 422, "it was tried a fourth time"
        wait_until(lambda: len(deployment.workers()) == 1)
        wait_until(deployment.is_idle)


def test_a_worker_that_cannot_load_its_model_exits_with_a_sentence(deploy: Deploy, tmp_path: Path) -> None:
    broken = tmp_path / "model"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    with deploy() as deployment:
        environment = deployment.environment | {"MODEL_ID": str(broken)}
        process = start([sys.executable, "-m", "worker.main"], tmp_path / "worker.log", environment)
        assert process.popen.wait(PATIENCE_SECONDS) == 2
        assert process.output().splitlines()[-1].startswith("The worker cannot start: ")
        assert "Traceback" not in process.output()
        assert deployment.workers() == []
        assert deployment.leases(Priority.STATE) == 0
