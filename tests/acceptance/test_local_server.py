"""The local server as a newcomer starts it, with the real model: its parts are killed and it goes on."""

import time
from pathlib import Path

import httpx

from tests.acceptance.conftest import Extent
from tests.acceptance.fault_report import Fault
from tests.acceptance.load import Background
from tests.embedding_fakes import wait_until
from tests.local_server import LocalServer, running_server

SETTINGS = {"HEARTBEAT_SECONDS": "0.5", "HEARTBEAT_TTL_SECONDS": "3", "VISIBILITY_TIMEOUT_SECONDS": "15"}


def body(label: str, premises: int) -> dict[str, object]:
    new = [
        {"name": f"{label}_{number}", "decl": f"theorem {label}_{number} (a b : Nat) : Eq (HAdd.hAdd a {number}) b"}
        for number in range(premises)
    ]
    return {"state": f"a b : Nat\n⊢ Eq {label} b", "new_premises": new, "imported_modules": [], "k": 1024}


def embedded_texts(server: LocalServer) -> int:
    return sum(worker["texts_embedded"] for worker in httpx.get(f"{server.url}/status", timeout=10).json()["workers"])


def test_a_worker_killed_by_whoever_is_started_again_and_answers_the_request_that_waited(
    tmp_path: Path, background: Background, faults: list[Fault], extent: Extent
) -> None:
    extent.only_in_full()
    premises = 2048
    with running_server(tmp_path / "state", environment=SETTINGS) as server:
        server.wait_for("Stop: Ctrl-C")
        before = embedded_texts(server)
        asked = background.post(server.url, body("cold", premises))
        wait_until(lambda: embedded_texts(server) > before + premises / 6)
        server.part("worker.main").kill()
        killed = time.monotonic()
        server.wait_for("model ready", times=2)
        restarted = time.monotonic()
        heard = asked.result(120)
        answered = time.monotonic()
        assert heard.status == 200, heard.answer
        assert isinstance(heard.answer, list)
        assert len(heard.answer) == min(premises, 1024)
        wait_until(lambda: embedded_texts(server) > 0)
        assert embedded_texts(server) < premises, "what was cached was embedded again"
        repeated = background.post(server.url, body("cold", premises)).result(30)
        assert repeated.answer == heard.answer
        assert restarted - killed < answered - killed + 1
        lost, wrong = int(heard.status == 0), int(repeated.answer != heard.answer)
        faults.append(Fault("`make serve`: worker killed, MiniLM", 1, 1, lost, wrong, answered - restarted))
