"""Clients that go away in the middle of their request."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.embedding_cache import text_key
from shared.messages import Priority
from tests.acceptance.conftest import Deploy, Extent
from tests.acceptance.deployment import NAMESPACE, Deployment
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background, body_of, post, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until

PREMISES = 400


def start_curl(url: str, body: Path) -> subprocess.Popen[bytes]:
    """The request as Lean makes it: by curl, with the body on standard input."""
    command = [
        "curl", "-s", "-X", "POST", "--user-agent", "LeanProver (https://leanprover-community.github.io/)",
        "--header", "Content-Type: application/json", "--data", "@-", f"{url}/retrieve",
    ]  # fmt: skip
    with body.open("rb") as standard_input:
        return subprocess.Popen(command, stdin=standard_input, stdout=subprocess.DEVNULL)


def dropped_jobs(deployment: Deployment) -> int:
    return sum(worker.dropped_jobs for worker in deployment.workers())


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_a_killed_curl_gives_its_admission_back_and_its_waiting_work_never_reaches_the_model(
    deploy: Deploy, tmp_path: Path, faults: list[Fault], extent: Extent
) -> None:
    clients = extent.choose(4, 8)
    with deploy() as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        deployment.gate.touch()  # one batch is in the model and stays there
        bodies = [tmp_path / f"body-{number}" for number in range(clients)]
        for number, path in enumerate(bodies):
            path.write_text(json.dumps(body_of(f"⊢ {number}", texts(f"client {number}", PREMISES))))
        curls = [start_curl(replica.url, path) for path in bodies]
        wait_until(lambda: deployment.leases(Priority.STATE) == clients)
        wait_until(lambda: len(deployment.workers()[0].held_jobs) == clients * 7)
        for curl in curls:
            curl.kill()
            curl.wait(PATIENCE_SECONDS)
        wait_until(lambda: deployment.leases(Priority.STATE) + deployment.leases(Priority.BULK) == 0)
        wait_until(lambda: dropped_jobs(deployment) == clients * 7)
        deployment.gate.unlink()
        wait_until(deployment.is_idle)
        embedded = len(deployment.embedded_texts())
        assert 0 < embedded < clients * PREMISES / 4, "work that nobody waited for went through the model"
        cached = list(deployment.client.scan_iter(f"emb:{NAMESPACE}:*"))
        assert len(cached) == embedded, "what was in a batch already was not cached"
        afterwards = post(replica.url, body_of("⊢ afterwards", texts("afterwards", 10)))
        assert afterwards.status == 200
        seen = Fault.seen("client killed in its request", [afterwards], 0.0, tried=clients, in_flight=clients)
        faults.append(seen)


def test_work_that_somebody_else_awaits_goes_on_when_one_of_them_leaves(
    deploy: Deploy, tmp_path: Path, background: Background
) -> None:
    with deploy() as deployment:
        deployment.start_worker()
        replica, other = deployment.start_replica(), deployment.start_replica()
        deployment.gate.touch()
        body = body_of("⊢ shared", texts("shared", 100))
        path = tmp_path / "body"
        path.write_text(json.dumps(body))
        curl = start_curl(replica.url, path)
        wait_until(lambda: deployment.leases(Priority.STATE) == 1)
        staying = [background.post(each.url, body) for each in (replica, other)]
        wait_until(lambda: len(deployment.workers()[0].held_jobs) == 4)
        curl.kill()
        curl.wait(PATIENCE_SECONDS)
        deployment.gate.unlink()
        heard = [each.result(PATIENCE_SECONDS) for each in staying]
        assert [(each.status, each.wrong) for each in heard] == [(200, False)] * 2
        assert len(deployment.embedded_texts()) == 101
        assert deployment.client.exists(f"emb:{NAMESPACE}:{text_key('⊢ shared')}")
