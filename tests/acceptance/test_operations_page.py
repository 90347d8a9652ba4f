"""Every command of docs/operations.md, run as it stands there, and its effect."""

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from shared.celery_app import PRIORITY_STEPS
from shared.dead_letters import read_letters
from shared.redis_client import priority_list
from shared.settings import Settings
from tests.acceptance.deployment import NAMESPACE, Deployment, Replica, deployed
from tests.acceptance.load import Background, body_of, post, texts
from tests.acceptance.operations_page import Shell, command_blocks, inline_commands
from tests.compose_files import read_compose
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.processes import Process, celery_client, prepare_command, start

NO_REPLY = 69
"""What celery exits with when no worker answers: one that shuts down never does."""
EMBED, CORPUS = f"embed.{NAMESPACE}", f"corpus.{NAMESPACE}"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, prepared_state: Path) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("operations")
    longest = "600"  # a job that is held for longer is published anew, and counts twice meanwhile
    with deployed(folder, snapshot=prepared_state, VISIBILITY_TIMEOUT_SECONDS=longest) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def replica(deployment: Deployment) -> Replica:
    return deployment.start_replica(ready=False)


@pytest.fixture(scope="module")
def workers() -> list[Process]:
    """The worker that tests hand on as long as it lives, alone; its last one counts."""
    return []


@pytest.fixture
def worker(deployment: Deployment, replica: Replica, workers: list[Process]) -> Iterator[Process]:
    """One worker that takes jobs, and no other."""
    wait_until(lambda: len(deployment.workers()) <= 1)
    if not workers or workers[-1].popen.poll() is not None:
        wait_until(lambda: not deployment.workers())
        workers.append(deployment.start_worker())
    wait_until(replica.is_ready)
    yield workers[-1]
    deployment.gate.unlink(missing_ok=True)


@pytest.fixture
def shell(deployment: Deployment, replica: Replica) -> Shell:
    return Shell(deployment, replica)


def waiting(deployment: Deployment, queue: str) -> int:
    """Jobs on the broker's lists of a queue."""
    return sum(deployment.client.llen(priority_list(queue, step)) for step in PRIORITY_STEPS)


def consumed(deployment: Deployment) -> list[list[str] | None]:
    """Queues that each worker says that it takes jobs from."""
    return [worker.queues for worker in deployment.workers()]


def test_every_block_of_the_page_is_run_by_a_test_of_this_file() -> None:
    run = set(re.findall(r"\.run\(\s*\"([a-z-]+)\"", Path(__file__).read_text()))
    assert set(command_blocks()) == run


def test_what_the_sentences_name_exists() -> None:
    inline = "\n".join(inline_commands())
    compose = read_compose()["services"]
    services = re.findall(r"--scale (\w+)=|docker compose (?:exec|stop) (\w+)", inline)
    profiles = {profile for service in compose.values() for profile in service.get("profiles", [])}
    assert {name for names in services for name in names if name} <= compose.keys()
    assert set(re.findall(r"--profile (\w+)", inline)) <= profiles
    modules = re.findall(r"python -m ([\w.]+)", inline)
    assert len(modules) == 2
    assert all(find_spec(module) for module in modules)
    variables = set(re.findall(r"^([A-Z]+_[A-Z_]+|PORT|DATA|FLOWER)\b", inline, re.MULTILINE))
    assert variables - {"IDLE_SECONDS"} <= {name.upper() for name in Settings.model_fields}


def test_the_four_addresses_tell_what_the_page_says(worker: Process, shell: Shell) -> None:
    told = shell.run("look")
    ready, status, queue = [json.loads(found) for found in re.findall(r"(?<!\S)?\{\"(?:.*?)\}(?=\{|#)", told)][:3]
    assert ready["status"] == "ready"
    assert [worker["takes_jobs"] for worker in status["workers"]] == [True]
    [model] = queue.pop("models")
    assert queue == status["queue"]
    assert (model["namespace"], model["classes"]) == (NAMESPACE, queue["classes"])
    assert "# HELP" in told


def test_celery_tells_workers_queues_jobs_and_what_waits(
    deployment: Deployment, replica: Replica, worker: Process, shell: Shell, background: Background
) -> None:
    deployment.gate.touch()
    asked = background.post(replica.url, body_of("⊢ a secret goal", texts("a secret premise", 3)))
    wait_until(lambda: len(deployment.workers()[0].held_jobs) == 2)
    told = shell.run("look-with-celery")
    assert f"{deployment.workers()[0].node_name}: OK" in told
    assert "1 node online" in told
    assert f"'name': '{EMBED}'" in told
    assert "{texts: 3}" in told
    assert "held by workers: 2" in told
    assert "secret" not in told
    deployment.gate.unlink()
    assert asked.result(PATIENCE_SECONDS).status == 200


def test_drained_workers_finish_what_they_hold_take_nothing_new_and_can_be_ended(
    deployment: Deployment, replica: Replica, worker: Process, shell: Shell, background: Background
) -> None:
    deployment.gate.write_text("0.3")
    bodies = [body_of(f"⊢ held {number}", texts(f"held {number}", 50)) for number in range(3)]
    held = [background.post(replica.url, body) for body in bodies]
    wait_until(lambda: bool(deployment.workers()[0].held_jobs))
    drained = shell.run("drain")
    assert drained.count("no longer consuming") == 2
    assert "held by workers: 0" in drained
    assert [(each.result(PATIENCE_SECONDS).status, each.result().wrong) for each in held] == [(200, False)] * 3
    wait_until(lambda: not replica.is_ready())
    assert [worker["takes_jobs"] for worker in replica.status()["workers"]] == [False]
    assert "drained" in replica.status()["reasons"][0]

    embedded = len(deployment.embedded_texts())
    waits = background.post(replica.url, body_of("⊢ waits", texts("waits", 20)))
    wait_until(lambda: waiting(deployment, EMBED) == 2)
    shell.run("shutdown", exit_code=NO_REPLY)
    assert worker.popen.wait(PATIENCE_SECONDS) == 0
    assert len(deployment.embedded_texts()) == embedded
    following = deployment.start_worker()
    heard = waits.result(PATIENCE_SECONDS)
    assert (heard.status, heard.wrong) == (200, False), heard.answer
    assert set(Counter(deployment.embedded_texts()).values()) == {1}
    following.stop()


def test_a_drained_worker_takes_jobs_again_and_an_open_request_enqueues_what_was_purged(
    deployment: Deployment, replica: Replica, worker: Process, shell: Shell, background: Background
) -> None:
    with celery_client(deployment.redis_url) as app:
        for queue in (EMBED, CORPUS):
            app.control.cancel_consumer(queue)
    wait_until(lambda: consumed(deployment) == [[]])
    waits = background.post(replica.url, body_of("⊢ resumed", texts("resumed", 20)))
    wait_until(lambda: waiting(deployment, EMBED) == 2)
    assert "Purged 2 messages" in shell.run("purge")
    assert shell.run("resume").count("add consumer") == 2
    heard = waits.result(PATIENCE_SECONDS)
    assert (heard.status, heard.wrong) == (200, False), heard.answer
    wait_until(lambda: consumed(deployment) == [[CORPUS, EMBED]])
    wait_until(replica.is_ready)


def test_one_worker_of_two_is_drained_and_ended_and_nothing_is_lost(
    deployment: Deployment, replica: Replica, worker: Process, background: Background
) -> None:
    old = deployment.workers()[0]
    new = deployment.start_worker()
    deployment.gate.write_text("0.1")
    load = background.steady(2, lambda client, number: (replica.url, body_of(f"⊢ rolling {client} {number}", [])))
    wait_until(lambda: len(load.heard) > 2)
    Shell(deployment, replica, WORKER=old.node_name).run("drain-one", exit_code=NO_REPLY)
    assert worker.popen.wait(PATIENCE_SECONDS) == 0
    before = len(load.heard)
    wait_until(lambda: len(load.heard) > before + 2)
    heard = load.stop()
    assert {(each.status, each.wrong) for each in heard} == {(200, False)}
    assert replica.is_ready()
    assert [each.worker_id for each in deployment.workers()] != [old.worker_id]
    assert new.popen.poll() is None
    new.stop()


def test_corpus_work_alone_is_paused_and_goes_on(
    deployment: Deployment, replica: Replica, worker: Process, shell: Shell, tmp_path: Path
) -> None:
    shell.run("pause-corpus")
    wait_until(lambda: consumed(deployment) == [[EMBED]])
    changed = tmp_path / "corpus"
    shutil.copytree(Path("shared/demo/corpus"), changed)
    (changed / "revision").write_text("another\n")
    environment = deployment.environment | {"DATA": str(changed), "DATA_DIR": str(tmp_path / "state")}
    preparing = start(prepare_command(), tmp_path / "prepare.log", environment)
    try:
        wait_until(lambda: waiting(deployment, CORPUS) > 0)
        assert post(replica.url, body_of("⊢ meanwhile", texts("meanwhile", 5))).status == 200
        assert replica.is_ready()
        assert waiting(deployment, CORPUS) > 0
        assert preparing.popen.poll() is None
        shell.run("resume-corpus")
        assert preparing.popen.wait(PATIENCE_SECONDS) == 0, preparing.output()
    finally:
        preparing.stop()


def test_dead_letters_are_listed_tried_again_and_dropped(
    deployment: Deployment, replica: Replica, worker: Process, shell: Shell
) -> None:
    worker.stop()
    small = deployment.start_worker(FAKE_WORKER_MEMORY_TOKENS="200")
    wait_until(replica.is_ready)
    large = body_of("⊢ retried", ["a large secret ".ljust(300, "m")])
    assert post(replica.url, large).status == 422
    assert post(replica.url, body_of("⊢ a poison", [])).status == 422
    listed = shell.run("letters")
    assert ("out_of_memory" in listed, "model_error" in listed, "secret" in listed) == (True, True, False)
    small.stop()
    larger = deployment.start_worker()
    assert shell.run("requeue").count("requeued: 1 texts") == 2
    wait_until(lambda: post(replica.url, large).status == 200)
    wait_until(lambda: len(read_letters(deployment.client)) == 1)  # the poison has failed again
    assert "1 dropped" in shell.run("drop")
    assert read_letters(deployment.client) == []
    larger.stop()


def test_an_idle_worker_is_found_by_its_hash_and_ended_a_busy_one_is_not(
    deployment: Deployment, replica: Replica, worker: Process, shell: Shell
) -> None:
    [alive] = deployment.workers()
    assert post(replica.url, body_of("⊢ counted", texts("counted", 7))).status == 200
    wait_until(lambda: deployment.workers()[0].texts_embedded == 8)
    lines = shell.run("deployments").splitlines()
    told = dict(zip(lines[1::2], lines[2::2], strict=True))
    assert lines[0] == f"{alive.worker_id}:deployment"
    assert (told["model"], told["type"], told["address"]) == ("fake-model", "embedding", alive.node_name)
    assert told["generations"] == "8"
    assert int(alive.started_at) <= int(told["start_time"]) <= int(told["last_request"]) <= time.time()
    Shell(deployment, replica, IDLE_SECONDS="600").run("scale-to-zero")
    assert worker.popen.poll() is None
    Shell(deployment, replica, IDLE_SECONDS="0").run("scale-to-zero")
    assert worker.popen.wait(PATIENCE_SECONDS) == 0
    assert shell.run("deployments") == ""
    wait_until(lambda: not replica.is_ready())
    assert post(replica.url, body_of("⊢ nobody", [])).status == 503
    assert post(replica.url, body_of("⊢ counted", [])).status == 200


def test_another_model_is_prepared_and_served_beside_the_old_one(
    deployment: Deployment, replica: Replica, worker: Process
) -> None:
    new = deployment.start_worker(MODEL_ID="new-model", FAKE_WORKER_NAMESPACE="new-space")
    Shell(deployment, replica, NEW_MODEL="new-model").run("prepare-new-model")
    upgraded = deployment.start_replica(MODEL_ID="new-model")
    assert (upgraded.status()["corpus"]["namespace"], upgraded.is_ready()) == ("new-space", True)
    assert (replica.status()["corpus"]["namespace"], replica.is_ready()) == (NAMESPACE, True)
    for each in (replica, upgraded):
        heard = post(each.url, body_of("⊢ both", texts("both", 3)))
        assert (heard.status, heard.wrong) == (200, False)
    upgraded.process.stop()
    new.stop()
