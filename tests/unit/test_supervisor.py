import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from api.commands.child_process import ChildSpec, describe_exit
from api.commands.orphan_guard import OrphanGuard
from api.commands.readiness import base_url, what_is_awaited
from api.commands.serve import check_port_is_free, child_environment, fetch_child, worker_children
from api.commands.state_folder import StateFolder
from api.commands.supervisor import Supervisor, restart_delay
from shared.errors import ChildFailedError, SettingsError
from shared.model_catalogue import CatalogueModel
from shared.settings import Settings
from tests.free_ports import free_port

DEADLINE_SECONDS = 120

STAYS = "import os, signal; print('up', os.getpid(), flush=True); signal.pause()"
STAYS_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + STAYS
SAYS_GOODBYE = (
    "import os, signal, sys\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye', flush=True), sys.exit(0)))\n"
    "print('up', os.getpid(), flush=True)\n"
    "while True: signal.pause()"
)
HAS_A_CHILD = (
    "import os, signal, subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {STAYS_DEAF!r}])\n"
    "print('leads', os.getpid(), flush=True)\n"
    "signal.pause()"
)
DIES = "import sys; sys.exit(7)"
MISCONFIGURED = "import sys; print('X=1 cannot be used', flush=True); sys.exit(2)"


class Screen:
    """Collects lines from several threads and lets a test wait for one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def write(self, text: str) -> None:
        with self._changed:
            self.lines.append(text)
            self._changed.notify_all()

    async def saw(self, text: str, times: int = 1) -> str:
        return await asyncio.to_thread(self._wait, text, times)

    def _wait(self, text: str, times: int) -> str:
        with self._changed:
            came = self._changed.wait_for(lambda: len(self._with(text)) >= times, DEADLINE_SECONDS)
            assert came, f"{text!r} was not written: {self.lines}"
            return self._with(text)[times - 1]

    def _with(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]


class Pauses:
    """A sleep that takes no time and remembers how long it should have been; the clock stands still."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def clock(self) -> float:
        return 0.0


def stub(name: str, code: str, *, stop_seconds: float = DEADLINE_SECONDS) -> ChildSpec:
    return ChildSpec(name, [sys.executable, "-c", code], stop_seconds)


def with_deadline(test: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * DEADLINE_SECONDS):
            await test()

    asyncio.run(bounded())


@asynccontextmanager
async def supervised(screen: Screen, pauses: Pauses | None = None) -> AsyncIterator[Supervisor]:
    pauses = pauses or Pauses()
    with OrphanGuard() as guard:
        supervisor = Supervisor(dict(os.environ), screen.write, guard, clock=pauses.clock, sleep=pauses.sleep)
        try:
            yield supervisor
        finally:
            supervisor.kill_all()
            await supervisor.stop_all()


@asynccontextmanager
async def kept_running(supervisor: Supervisor, *specs: ChildSpec) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(supervisor.keep_running(spec)) for spec in specs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def pid_in(line: str) -> int:
    return int(line.split()[-1])


def wait_until_gone(*pids: int) -> None:
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                process.wait(DEADLINE_SECONDS)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_that_dies_is_started_again_and_the_terminal_says_so() -> None:
    screen, pauses = Screen(), Pauses()

    async def scenario() -> None:
        async with supervised(screen, pauses) as supervisor, kept_running(supervisor, stub("api", DIES)):
            await screen.saw("started again", times=3)

    with_deadline(scenario)
    assert screen.lines[0] == "api ended (exit code 7); it is started again in 0.5 s."
    assert pauses.seconds[:3] == [0.5, 1.0, 2.0]


def test_a_killed_child_comes_back_as_another_process() -> None:
    screen = Screen()

    async def scenario() -> None:
        async with supervised(screen) as supervisor, kept_running(supervisor, stub("api", STAYS)):
            first = pid_in(await screen.saw("up"))
            os.kill(first, signal.SIGKILL)
            assert "killed by SIGKILL" in await screen.saw("started again")
            assert pid_in(await screen.saw("up", times=2)) != first

    with_deadline(scenario)


def test_delays_double_up_to_half_a_minute_and_start_over_after_a_steady_minute() -> None:
    delays = [restart_delay(None, 0)]
    for _ in range(7):
        delays.append(restart_delay(delays[-1], uptime_seconds=1))
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert restart_delay(30, uptime_seconds=60) == 0.5


def test_a_configuration_error_is_not_tried_again() -> None:
    screen, pauses = Screen(), Pauses()

    async def scenario() -> None:
        async with supervised(screen, pauses) as supervisor:
            with pytest.raises(ChildFailedError, match=r"worker ended \(exit code 2\)"):
                await supervisor.keep_running(stub("worker", MISCONFIGURED))

    with_deadline(scenario)
    assert screen.lines == ["worker | X=1 cannot be used"]
    assert pauses.seconds == []


def test_a_single_run_that_fails_ends_with_its_exit_code() -> None:
    async def scenario() -> None:
        async with supervised(Screen()) as supervisor:
            await supervisor.run_to_end(stub("prepare", "pass"))
            with pytest.raises(ChildFailedError, match="exit code 7"):
                await supervisor.run_to_end(stub("prepare", DIES))

    with_deadline(scenario)


def test_a_command_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(Screen()) as supervisor:
            with pytest.raises(ChildFailedError, match="redis could not be started"):
                await supervisor.keep_running(ChildSpec("redis", [str(tmp_path / "absent")], 1))

    with_deadline(scenario)


def test_children_stop_in_the_reverse_order_of_their_first_start() -> None:
    screen = Screen()

    async def scenario() -> None:
        async with supervised(screen) as supervisor:
            async with kept_running(supervisor, *(stub(name, SAYS_GOODBYE) for name in ("redis", "worker", "api"))):
                await screen.saw("up", times=3)
                worker = pid_in(await screen.saw("worker | up"))
                os.kill(worker, signal.SIGKILL)
                await screen.saw("worker | up", times=2)
            await supervisor.stop_all()

    with_deadline(scenario)
    assert [line.split()[0] for line in screen.lines if "goodbye" in line] == ["api", "worker", "redis"]


def test_a_child_that_ignores_sigterm_is_killed_after_its_time() -> None:
    screen = Screen()

    async def scenario() -> None:
        async with supervised(screen) as supervisor:
            async with kept_running(supervisor, stub("worker", STAYS_DEAF, stop_seconds=0.1)):
                pid = pid_in(await screen.saw("up"))
            await supervisor.stop_all()
            assert is_gone(pid)

    with_deadline(scenario)


def test_killing_all_ends_a_stop_that_waits() -> None:
    screen = Screen()

    async def scenario() -> None:
        async with supervised(screen) as supervisor:
            async with kept_running(supervisor, stub("worker", STAYS_DEAF, stop_seconds=1000)):
                await screen.saw("up")
            stopping = asyncio.create_task(supervisor.stop_all())
            supervisor.kill_all()
            await stopping

    with_deadline(scenario)


def test_what_a_child_has_started_ends_with_it() -> None:
    screen = Screen()

    async def scenario() -> None:
        async with supervised(screen) as supervisor:
            async with kept_running(supervisor, stub("api", HAS_A_CHILD)):
                grandchild = pid_in(await screen.saw("up"))
                await screen.saw("leads")
            await supervisor.stop_all()
            wait_until_gone(grandchild)

    with_deadline(scenario)


def test_output_can_go_to_a_file_that_the_error_names(tmp_path: Path) -> None:
    log = tmp_path / "redis.log"
    spec = ChildSpec("redis", [sys.executable, "-c", MISCONFIGURED], 1, output=log)

    async def scenario() -> None:
        async with supervised(Screen()) as supervisor:
            with pytest.raises(ChildFailedError, match=r"redis\.log says why"):
                await supervisor.keep_running(spec)

    with_deadline(scenario)
    assert log.read_text() == "X=1 cannot be used\n"


def test_children_do_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    specs = [stub("redis", STAYS), stub("worker of b", HAS_A_CHILD, stop_seconds=1)]
    lock = StateFolder(tmp_path)
    program = f"""
import asyncio, os
from pathlib import Path
from api.commands.child_process import ChildSpec
from api.commands.orphan_guard import OrphanGuard
from api.commands.state_folder import StateFolder
from api.commands.supervisor import Supervisor

async def run(guard):
    supervisor = Supervisor(os.environ, lambda line: print(line, flush=True), guard)
    await asyncio.gather(*(supervisor.keep_running(spec) for spec in {specs!r}))

with StateFolder(Path({str(tmp_path)!r})).locked() as held, OrphanGuard(keep_open=(held,)) as guard:
    print("supervisor", os.getpid(), flush=True)
    asyncio.run(run(guard))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pids = {pid_in(supervisor.stdout.readline()) for _ in range(4)}
        supervisor.kill()
        supervisor.wait()
    wait_until_gone(*pids)
    wait_until_unlocked(lock)


def wait_until_unlocked(folder: StateFolder) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        with suppress(SettingsError), folder.locked():
            return
    pytest.fail("the orphan guard still holds the state folder")


def test_a_state_folder_serves_one_server_and_names_its_holder(tmp_path: Path) -> None:
    with (
        StateFolder(tmp_path).locked(),
        pytest.raises(SettingsError, match=rf"in use by process {os.getpid()}.*DATA_DIR"),
        StateFolder(tmp_path).locked(),
    ):
        pytest.fail("two servers hold one folder")
    with StateFolder(tmp_path).locked():
        pass


def test_a_state_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"DATA_DIR=.* cannot be used"):
        StateFolder(tmp_path / "file").create()


def test_a_port_in_use_is_named_with_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"Port {port} on 127\.0\.0\.1 .*make serve PORT="):
            check_port_is_free("127.0.0.1", port)
    check_port_is_free("127.0.0.1", port)


def test_a_host_that_does_not_exist_is_a_sentence() -> None:
    with pytest.raises(SettingsError, match="HOST=no such host cannot be used"):
        check_port_is_free("no such host", 8000)


def test_children_get_the_addresses_and_no_retired_variable(tmp_path: Path) -> None:
    settings = Settings(port=8123, data_dir=tmp_path)
    environment = child_environment({"LRU_CACHE_SIZE": "5", "DATA": "demo"}, settings, "redis://127.0.0.1:7000/0")
    assert environment["REDIS_URL"] == "redis://127.0.0.1:7000/0"
    assert (environment["PORT"], environment["DATA_DIR"], environment["DATA"]) == ("8123", str(tmp_path), "demo")
    assert "LRU_CACHE_SIZE" not in environment


def test_the_hubs_token_reaches_the_download_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    environment = child_environment({"HF_TOKEN": "hf_secret", "DATA": "demo"}, settings, "redis://127.0.0.1:7000/0")
    assert "HF_TOKEN" not in environment
    assert fetch_child("hf_secret").environment == {"HF_TOKEN": "hf_secret"}


def test_each_model_has_a_worker() -> None:
    models = (CatalogueModel(name="b", model_id="org/b", model_revision="v1", pooling="max"),)
    workers = worker_children(Settings(model_id="a", pooling="cls", models=models))
    assert [(worker.name, worker.environment) for worker in workers] == [
        ("worker", {"MODEL_ID": "a", "MODEL_REVISION": "", "POOLING": "cls"}),
        ("worker b", {"MODEL_ID": "org/b", "MODEL_REVISION": "v1", "POOLING": "max"}),
    ]


def test_the_address_to_try_is_one_that_this_machine_reaches() -> None:
    assert base_url("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert base_url("0.0.0.0", 8000) == "http://127.0.0.1:8000"  # noqa: S104 - nothing is bound
    assert base_url("::", 8000) == "http://[::1]:8000"


def test_an_api_that_does_not_answer_is_still_starting() -> None:
    assert what_is_awaited("127.0.0.1", free_port()) == "The API is starting."


def test_exits_are_described_by_code_or_signal() -> None:
    assert describe_exit(3) == "exit code 3"
    assert describe_exit(-signal.SIGKILL) == "killed by SIGKILL"
