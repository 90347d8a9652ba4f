"""A worker is told to stop, by a signal or by the celery program."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.deployment import Deployment
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, body_of, post, texts
from tests.embedding_fakes import wait_until
from tests.processes import Process

STOP_SECONDS = 10
"""WORKER_STOP_SECONDS of these deployments."""
NO_REPLY = 69
"""What celery exits with when no worker answers: one that shuts down never does."""
README = Path(__file__).parents[2] / "README.md"
CELERY = Path(sys.executable).parent / "celery"


def seconds_to_end(worker: Process, code: int) -> float:
    """SIGTERM; waits for the exit code and returns how long that took."""
    started = time.monotonic()
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(STOP_SECONDS + 5) == code, worker.output()
    return time.monotonic() - started


def wait_for_texts(deployment: Deployment, count: int) -> None:
    wait_until(lambda: len(deployment.embedded_texts()) > count, 30)


def test_a_worker_told_to_stop_under_load_ends_its_batch_and_hands_the_rest_back(
    deploy: Deploy, background: Background, faults: list[Fault], extent: Extent
) -> None:
    clients, premises = 6, 300
    with deploy(FAKE_WORKER_TOKENS_PER_SECOND="20000") as deployment:
        worker = deployment.start_worker()
        replica = deployment.start_replica()
        bodies = [body_of(f"⊢ {number}", texts(f"client {number}", premises)) for number in range(clients)]
        asked = [background.post(replica.url, body) for body in bodies]
        slowest = 0.0
        for stops in range(1, extent.choose(1, 3) + 1):
            wait_for_texts(deployment, stops * 100)
            slowest = max(slowest, seconds_to_end(worker, 0))
            assert deployment.backlog()["held"] == 0, "a job was kept"
            worker = deployment.start_worker()
        heard = [each.result(60) for each in asked]
        assert [(each.status, each.wrong) for each in heard] == [(200, False)] * clients
        assert set(Counter(deployment.embedded_texts()).values()) == {1}, "a text was embedded twice"
        assert "Traceback" not in deployment.logs("worker")
        wait_until(deployment.is_idle, 20)
        faults.append(Fault.seen("worker told to stop under load", heard, slowest))


def test_a_worker_told_to_stop_while_redis_is_frozen_ends_in_time(
    deploy: Deploy, background: Background, extent: Extent
) -> None:
    extent.only_in_full()
    with deploy(FAKE_WORKER_TOKENS_PER_SECOND="20000") as deployment:
        worker = deployment.start_worker()
        replica = deployment.start_replica()
        body = body_of("⊢ a goal", texts("frozen", 500))
        asked = background.post(replica.url, body)
        wait_for_texts(deployment, 100)
        with deployment.frozen_redis():
            worker.popen.send_signal(signal.SIGTERM)
            worker.popen.wait(STOP_SECONDS + 5)
        deployment.start_worker()
        heard = asked.result(60)
        assert (heard.status, heard.wrong) == (200, False), heard.answer


def recipe(deployment: Deployment) -> subprocess.CompletedProcess[str]:
    """Run the README's commands for draining, word for word."""
    section = README.read_text().partition("## Drain, retry")[2]
    commands = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[0]
    assert "cancel_consumer" in commands
    assert "shutdown" in commands
    environment = os.environ | deployment.environment | {"PATH": f"{CELERY.parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-euc", commands], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_recipe_of_the_readme_drains_a_worker_and_loses_nothing(deploy: Deploy, background: Background) -> None:
    with deploy(FAKE_WORKER_TOKENS_PER_SECOND="20000") as deployment:
        worker = deployment.start_worker()
        replica = deployment.start_replica()
        body = body_of("⊢ a goal", texts("drained", 1000))
        asked = background.post(replica.url, body)
        wait_for_texts(deployment, 100)
        done = recipe(deployment)
        assert done.returncode == NO_REPLY, done.stdout + done.stderr
        assert done.stdout.count("no longer consuming") == 2
        assert "held by workers: 0" in done.stdout
        assert worker.popen.wait(STOP_SECONDS + 5) == 0
        heard = asked.result(60)
        assert (heard.status, heard.wrong) == (200, False), heard.answer
        assert set(Counter(deployment.embedded_texts()).values()) == {1}
        counts = deployment.backlog()
        assert (counts["held"], sum(counts["waiting"].values()), counts["workers"]) == (0, 0, [])


def test_what_is_purged_while_a_request_waits_for_it_is_enqueued_again(deploy: Deploy, background: Background) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        queues = deployment.run_celery("backlog", "--queues").output().split()
        for queue in queues:
            assert deployment.run_celery("control", "cancel_consumer", queue).popen.returncode == 0
        asked = background.post(replica.url, body_of("⊢ a goal", texts("purged", 100)))
        wait_until(lambda: sum(deployment.backlog()["waiting"].values()) == 2, 20)
        purged = deployment.run_celery("purge", "-f", "-Q", ",".join(queues))
        assert "Purged 2 messages" in purged.output()
        deployment.start_worker()
        heard = asked.result(60)
        assert (heard.status, heard.wrong) == (200, False), heard.answer


def test_what_waits_when_a_worker_is_drained_is_done_by_the_next(deploy: Deploy, background: Background) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        for queue in deployment.run_celery("backlog", "--queues").output().split():
            assert deployment.run_celery("control", "cancel_consumer", queue).popen.returncode == 0
        body = body_of("⊢ a goal", texts("waiting", 100))
        asked = background.post(replica.url, body)
        wait_until(lambda: sum(deployment.backlog()["waiting"].values()) == 2, 20)
        assert deployment.run_celery("backlog", "--wait", "5").popen.returncode == 0
        assert deployment.run_celery("control", "shutdown").popen.returncode == NO_REPLY
        deployment.start_worker()
        heard = asked.result(60)
        assert (heard.status, heard.wrong) == (200, False), heard.answer


def test_waiting_for_a_worker_that_holds_jobs_ends_with_an_exit_code(deploy: Deploy, background: Background) -> None:
    with deploy() as deployment:
        deployment.gate.touch()
        deployment.start_worker()
        replica = deployment.start_replica()
        background.post(replica.url, body_of("⊢ held", []))
        wait_until(lambda: deployment.backlog()["held"] == 1, 20)
        waited = deployment.run_celery("backlog", "--wait", "0.5")
        assert waited.popen.returncode == 1
        assert "held by workers: 1" in waited.output()
        deployment.gate.unlink()
        assert post(replica.url, body_of("⊢ held", [])).status == 200
