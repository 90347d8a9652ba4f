"""Several API processes on one port: one count, one set of gauges, replaced and ended together."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.exposition import Growth, Scrape
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.free_ports import free_port
from tests.processes import Process, api_command, run_prepare, running, start, status_of

PROCESSES = 2


@dataclass
class Group:
    """A parent, and the address that its children serve."""

    parent: Process
    url: str
    deployment: FakeDeployment

    def children(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.parent.popen.pid).children() if is_spawned(child)]

    def is_complete(self) -> bool:
        return len(self.children()) == PROCESSES and self.scrape()["premises_api_processes"] == PROCESSES

    def scrape(self) -> Scrape:
        return Scrape.from_api(self.url)

    @contextmanager
    def only(self, child: psutil.Process) -> Iterator[None]:
        """The other children stand still: whatever connects now is served by this one."""
        others = [other for other in self.children() if other.pid != child.pid]
        for other in others:
            other.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for other in others:
                other.send_signal(signal.SIGCONT)

    def ask(self, state: str) -> httpx.Response:
        return httpx.post(f"{self.url}/retrieve", json={"state": state, "k": 2}, timeout=PATIENCE_SECONDS)


def is_spawned(process: psutil.Process) -> bool:
    """Whether it is a child of multiprocessing, and not its keeper of resources."""
    with suppress(psutil.Error):
        return any("spawn_main" in part for part in process.cmdline())
    return False


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDeployment]:
    with fake_deployment(tmp_path_factory.mktemp("group")) as deployment, deployment.worker():
        run_prepare(deployment.folder / "prepare.log", deployment.environment)
        yield deployment


@contextmanager
def running_group(deployment: FakeDeployment, name: str) -> Iterator[Group]:
    port = free_port()
    temporary = deployment.folder / name
    temporary.mkdir()
    settings = {"PORT": str(port), "API_PROCESSES": str(PROCESSES), "TMPDIR": str(temporary)}
    with running(api_command(), deployment.folder / f"{name}.log", deployment.environment | settings) as parent:
        group = Group(parent, f"http://127.0.0.1:{port}", deployment)
        wait_until(lambda: status_of(f"{group.url}/health/ready") == 200 and group.is_complete())
        for child in group.children():
            with group.only(child):
                wait_until(lambda: status_of(f"{group.url}/health/ready") == 200)
        yield group


@pytest.fixture(scope="module")
def group(deployment: FakeDeployment) -> Iterator[Group]:
    with running_group(deployment, "shared") as group:
        yield group


def test_whichever_process_is_asked_tells_what_all_have_counted(group: Group) -> None:
    before = group.scrape()
    for child in group.children():
        with group.only(child):
            assert [group.ask(state).status_code for state in ("for all", "for all", f"for {child.pid}")] == [200] * 3
    answered = {"route": "/retrieve", "method": "POST", "status": "200"}
    wait_until(lambda: Growth(before, group.scrape())("premises_http_requests_total", **answered) == 6)
    for child in group.children():
        with group.only(child):
            growth = Growth(before, group.scrape())
            assert growth("premises_http_requests_total", **answered) == 6
            assert growth("premises_http_request_duration_seconds_count", route="/retrieve") == 6
            stages = "premises_http_request_stage_duration_seconds_count"
            assert growth(stages, route="/retrieve", stage="search") == 6
            assert growth.after["premises_http_requests_in_progress"] == 1


def test_what_the_parts_count_for_themselves_is_added_up_within_a_second(group: Group) -> None:
    before = group.scrape()
    first, second = group.children()
    with group.only(first):
        assert group.ask("asked in both").status_code == 200
    with group.only(second):
        assert group.ask("asked in both").status_code == 200

    def growth() -> Growth:
        return Growth(before, group.scrape())

    misses = {(("tier", "process"),): 2, (("tier", "corpus"),): 2, (("tier", "redis"),): 1}
    wait_until(lambda: growth().changed("premises_cache_misses_total") == misses)
    assert growth().changed("premises_cache_hits_total") == {(("tier", "redis"),): 1}
    assert growth()("premises_jobs_published_total") == 1


def test_what_is_the_whole_deployments_is_told_once(group: Group) -> None:
    scrape = group.scrape()
    for name in ("premises_redis_up", "premises_queue_waiting_jobs", "premises_workers", "premises_corpus_info"):
        assert scrape[name] in (0, 1)  # fails where it is there twice
    assert scrape["premises_ready"] == 1
    for family in scrape.families.values():
        assert family.documentation, family.name
        assert all("pid" not in sample.labels for sample in family.samples), family.name


def test_all_processes_map_the_one_snapshot(group: Group) -> None:
    mapped = [
        {line.split(maxsplit=5)[5].strip() for line in Path(f"/proc/{child.pid}/maps").read_text().splitlines()
         if str(group.deployment.folder / "state") in line}
        for child in group.children()
    ]  # fmt: skip
    assert mapped[0]
    assert mapped[0] == mapped[1]


def test_a_child_that_is_killed_is_replaced_and_takes_only_its_gauges_along(group: Group) -> None:
    victim, survivor = group.children()
    counted = group.scrape().total("premises_http_requests_total", route="/retrieve")
    group.deployment.gate.touch()
    try:
        with ThreadPoolExecutor(1) as threads, group.only(victim):
            waiting = threads.submit(group.ask, "waits for the model")
            wait_until(lambda: group.scrape()["premises_http_requests_in_progress"] == 2)
            os.kill(victim.pid, signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                waiting.result()
    finally:
        group.deployment.gate.unlink()
    wait_until(lambda: victim.pid not in {child.pid for child in group.children()} and group.is_complete())
    scrape = group.scrape()
    assert survivor.pid in {child.pid for child in group.children()}
    assert scrape["premises_http_requests_in_progress"] == 1
    assert scrape.total("premises_http_requests_total", route="/retrieve") == counted


@pytest.mark.parametrize(("setting", "value"), [("API_PROCESSES", "0"), ("PROMETHEUS_MULTIPROC_DIR", "/nowhere")])
def test_settings_that_cannot_be_used_end_the_start_with_a_sentence(setting: str, value: str, tmp_path: Path) -> None:
    process = start(api_command(), tmp_path / "api.log", {"API_PROCESSES": "2", setting: value})
    assert process.popen.wait(PATIENCE_SECONDS) == 2
    [line] = process.output().splitlines()
    assert line.startswith("The API cannot start: ")
    assert setting in line


def test_a_child_ends_when_its_parent_was_killed(tmp_path: Path) -> None:
    log = tmp_path / "parent.log"
    parent = start([sys.executable, "-m", "tests.parent_of_one"], log, {})
    try:
        wait_until(lambda: "the child is there" in parent.output())
        [child] = [each for each in psutil.Process(parent.popen.pid).children() if is_spawned(each)]
        os.kill(parent.popen.pid, signal.SIGKILL)
        assert psutil.wait_procs([child], timeout=PATIENCE_SECONDS)[1] == []
    finally:
        parent.stop(signal.SIGKILL)


def test_sigterm_ends_all_and_leaves_nothing(group: Group) -> None:
    folder = group.deployment.folder / "shared"
    assert len(list(folder.glob("premises-metrics-*/*.db"))) > PROCESSES
    children = group.children()
    assert group.parent.stop() == 0
    assert psutil.wait_procs(children, timeout=PATIENCE_SECONDS)[1] == []
    assert list(folder.iterdir()) == []
    assert "Traceback" not in group.parent.output()
