"""What `/metrics` says, before and after requests to a real API with a real queue and a fake encoder."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from shared.messages import Priority
from shared.redis_client import leases_key
from tests.compose_files import REPOSITORY
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.exposition import Growth, Scrape
from tests.fake_deployment import FakeDeployment, fake_deployment
from tests.monitoring_files import expressions
from tests.processes import run_prepare, running_api
from tests.promql import problems

PRIVATE_STATE = "a goal that nobody else may see"
KEY = "a-key-for-tests-0123456789"
LABELS = {"class", "device", "digest", "dtype", "kernel", "le", "method", "model", "namespace", "reason", "revision"}
LABELS |= {"prefix", "route", "stage", "status", "tier", "version", "worker"}
DOCUMENT = REPOSITORY / "docs/metrics.md"
TIMED_STAGES = {"receive", "parse", "embed", "select", "search"}


@dataclass
class MeteredServer:
    """One API and one worker, with little room."""

    deployment: FakeDeployment
    url: str

    def post(self, **fields: object) -> httpx.Response:
        return httpx.post(f"{self.url}/retrieve", json={"state": "⊢ True", "k": 3} | fields, timeout=PATIENCE_SECONDS)

    def scrape(self) -> Scrape:
        return Scrape.from_api(self.url)

    def growth(self, act: Callable[[], object], *, of_worker: str = "") -> Growth:
        """What changes when something is done; `of_worker`: until this counter of its worker has grown, too."""
        if of_worker:  # its heartbeat tells all that earlier tests had it do
            embedded = len((self.deployment.folder / "journal").read_bytes().splitlines())
            wait_until(lambda: self.scrape()["premises_worker_texts_total"] == embedded)
        before = self.scrape()
        act()
        if of_worker:
            wait_until(lambda: self.scrape().total(of_worker) > before.total(of_worker))
        return Growth(before, self.scrape())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeteredServer]:
    folder = tmp_path_factory.mktemp("metered")
    with fake_deployment(folder) as deployment, deployment.worker(FAKE_WORKER_JOURNAL=str(folder / "journal")):
        run_prepare(deployment.folder / "prepare.log", deployment.environment)
        tight = {"MAX_QUEUED_BULK_TOKENS": "50", "MAX_BODIES_BYTES": "2000", "MAX_BODY_BYTES": "200000"}
        with running_api(deployment.folder / "api.log", deployment.environment | tight) as url:
            server = MeteredServer(deployment, url)
            wait_until(lambda: server.scrape().total("premises_worker_batch_tokens_count") > 0)
            yield server


@pytest.fixture(scope="module")
def scrape(server: MeteredServer) -> Scrape:
    assert server.post(state="so that there is something to see").status_code == 200
    return server.scrape()


def exposed_name(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def rejections(growth: Growth) -> dict[str, float]:
    return {labels[0][1]: value for labels, value in growth.changed("premises_http_requests_rejected_total").items()}


def test_every_family_is_explained_and_named_as_prometheus_wants_it(server: MeteredServer) -> None:
    families = server.scrape().families
    assert len(families) > 40
    for family in families.values():
        assert family.documentation, family.name
        assert re.fullmatch(r"premises_[a-z][a-z0-9_]*", family.name), family.name
        assert not re.search(r"_(ms|milliseconds|minutes|percent|kb|mb|gb|total|count|sum|bucket)$", family.name)
        assert family.type in {"counter", "gauge", "histogram"}, (family.name, family.type)
        assert {label for sample in family.samples for label in sample.labels} <= LABELS, family.name


def test_nothing_of_a_request_becomes_a_label(server: MeteredServer) -> None:
    for path in ("/retrieve", f"/{PRIVATE_STATE}", "/max-new-premises"):
        httpx.post(
            f"{server.url}{path}?key={PRIVATE_STATE}", json={"state": PRIVATE_STATE, "k": 1}, timeout=PATIENCE_SECONDS
        )
    httpx.request("MADEUP", f"{server.url}/retrieve")
    text = httpx.get(f"{server.url}/metrics").text
    assert "nobody else" not in text
    assert "MADEUP" not in text
    assert 'route="unknown"' in text


def test_requests_are_counted_by_route_method_and_status_and_timed_by_stage(server: MeteredServer) -> None:
    def ask() -> None:
        assert [server.post(state=state).status_code for state in ("counted 1", "counted 2", "counted 1")] == [200] * 3
        assert server.post(k="many").status_code == 422
        assert httpx.get(f"{server.url}/nowhere/{PRIVATE_STATE}").status_code == 404
        assert httpx.get(f"{server.url}/retrieve").status_code == 405

    growth = server.growth(ask)
    requests = growth.after.values.keys() - growth.before.values.keys()
    assert {dict(labels).get("status") for _, labels in requests} <= {"405", None}  # the one that no document names
    count = "premises_http_requests_total"
    assert growth(count, route="/retrieve", method="POST", status="200") == 3
    assert growth(count, route="/retrieve", method="POST", status="422") == 1
    assert growth(count, route="unknown", method="GET", status="404") == 1
    assert growth.after.value(count, route="/retrieve", method="GET", status="405") == 1
    assert growth(count, route="/metrics", method="GET", status="200") == 1
    assert growth("premises_http_request_duration_seconds_count", route="/retrieve") == 5
    assert growth("premises_http_request_duration_seconds_count", route="unknown") == 1
    times = {stage: growth("premises_http_request_stage_duration_seconds_count", route="/retrieve", stage=stage)
             for stage in TIMED_STAGES}  # fmt: skip
    assert times == {"receive": 4, "parse": 4, "embed": 3, "select": 3, "search": 3}
    assert growth("premises_http_request_stage_duration_seconds_sum", route="/retrieve", stage="embed") > 0
    assert growth("premises_http_requests_in_progress") == 0
    assert growth.after["premises_http_requests_in_progress"] == 1  # the scrape itself
    assert growth("premises_api_cpu_seconds_total") > 0


def test_a_repeated_goal_is_a_hit_and_a_new_one_a_miss_in_every_tier(server: MeteredServer) -> None:
    new = server.growth(lambda: server.post(state="asked twice"))
    assert new.changed("premises_cache_hits_total") == {}
    misses = new.changed("premises_cache_misses_total")
    assert misses == {(("tier", "process"),): 1, (("tier", "corpus"),): 1, (("tier", "redis"),): 1}
    assert new("premises_jobs_published_total") == 1
    assert new("premises_cache_process_bytes") > 0
    again = server.growth(lambda: server.post(state="asked twice"))
    assert again.changed("premises_cache_hits_total") == {(("tier", "process"),): 1}
    assert again.changed("premises_cache_misses_total") == {}
    assert again("premises_jobs_published_total") == 0


def test_every_reason_for_a_rejection_is_told_apart(server: MeteredServer) -> None:
    def ask() -> None:
        assert server.post(k="many").status_code == 422
        assert server.post(state="a poison").status_code == 422
        assert httpx.post(f"{server.url}/retrieve", content=b"x" * 300_000, timeout=PATIENCE_SECONDS).status_code == 413
        assert httpx.get(f"{server.url}/nowhere").status_code == 404
        assert httpx.delete(f"{server.url}/retrieve").status_code == 405

    assert rejections(server.growth(ask)) == {
        "validation": 1, "unembeddable_text": 1, "too_large": 1, "not_found": 1, "method_not_allowed": 1,
    }  # fmt: skip


def test_a_body_for_which_there_is_no_memory_is_a_reason_of_its_own(server: MeteredServer) -> None:
    def ask() -> None:
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as client:
            client.sendall(b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n" + b" " * 1500)
            wait_until(lambda: server.scrape()["premises_request_bodies_bytes"] == 1500)
            assert server.scrape()["premises_http_requests_in_progress"] == 2
            assert server.post(state="x" * 1000).status_code == 429
        wait_until(lambda: server.scrape()["premises_request_bodies_bytes"] == 0)

    assert rejections(server.growth(ask)) == {"bodies": 1, "client_left": 1}


def test_a_full_queue_is_a_reason_and_its_depth_is_told(server: MeteredServer) -> None:
    def ask() -> None:
        server.deployment.gate.touch()
        try:
            with ThreadPoolExecutor(2) as threads:
                key = leases_key("fake", Priority.BULK)
                held = threads.submit(server.post, new_premises=[{"name": "held", "decl": "y" * 400}])
                wait_until(lambda: server.deployment.client.zcard(key) == 1)
                assert server.scrape().value("premises_queue_tokens", **{"class": "premises"}) == 400
                assert server.scrape().value("premises_queue_jobs", **{"class": "premises"}) == 1
                assert server.scrape()["premises_jobs_awaited"] >= 1
                assert server.post(new_premises=[{"name": "new", "decl": "z" * 400}]).status_code == 429
                server.deployment.gate.unlink()
                assert held.result().status_code == 200
        finally:
            server.deployment.gate.unlink(missing_ok=True)

    growth = server.growth(ask)
    assert rejections(growth) == {"queue_tokens": 1}
    wait_until(lambda: server.scrape().total("premises_queue_tokens") == 0)


def test_work_that_nobody_waits_for_is_counted_where_it_is_dropped(server: MeteredServer) -> None:
    def ask() -> None:
        server.deployment.gate.touch()
        try:
            with ThreadPoolExecutor(1) as threads:
                first = threads.submit(server.post, state="holds the model up")
                wait_until(lambda: server.scrape().total("premises_worker_held_jobs") == 1)
                leave_in_the_middle(server, "left alone")
                wait_until(lambda: server.scrape().total("premises_worker_dropped_jobs_total") > dropped)
                server.deployment.gate.unlink()
                assert first.result().status_code == 200
        finally:
            server.deployment.gate.unlink(missing_ok=True)

    dropped = server.scrape().total("premises_worker_dropped_jobs_total")
    growth = server.growth(ask)
    assert rejections(growth) == {"client_left": 1}
    [worker_dropped] = growth.changed("premises_worker_dropped_jobs_total").values()
    assert worker_dropped == 1
    assert growth("premises_jobs_reenqueued_total") == 0


def leave_in_the_middle(server: MeteredServer, state: str) -> None:
    key = leases_key("fake", Priority.STATE)
    leases = server.deployment.client.zcard(key)
    body = b'{"state": "%s", "k": 3}' % state.encode()
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as client:
        head = f"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        wait_until(lambda: server.deployment.client.zcard(key) > leases)


def test_a_worker_tells_its_batches_waits_and_failures(server: MeteredServer) -> None:
    def ask() -> None:
        assert server.post(state="one two three").status_code == 200
        assert server.post(state="another poison").status_code == 422

    growth = server.growth(ask, of_worker="premises_worker_failed_texts_total")
    assert growth("premises_worker_texts_total") == 1
    assert growth("premises_worker_tokens_total") == len("one two three")
    assert growth("premises_worker_failed_texts_total") == 1
    assert growth("premises_worker_batch_tokens_bucket", le="16.0") == 1
    assert growth("premises_worker_batch_fill_ratio_count") == 2
    of_states = {"class": "states"}
    assert growth("premises_worker_job_wait_seconds_count", **of_states) == 2
    assert 0 <= growth("premises_worker_job_wait_seconds_sum", **of_states) < PATIENCE_SECONDS
    assert growth("premises_worker_text_wait_seconds_count", **of_states) == 2
    assert growth("premises_worker_batch_seconds_count", **of_states) == 1
    assert growth("premises_worker_batch_seconds_count", **{"class": "premises"}) == 0
    assert growth("premises_dead_letters") == 1
    after = growth.after
    assert after["premises_worker_tokens_per_second"] > 0
    assert after["premises_worker_memory_bytes"] > 10_000_000
    assert after["premises_worker_gpu_memory_bytes"] == 0
    assert after.value("premises_worker_info", model="fake-model", device="cpu", kernel="fake") == 1
    assert (after["premises_workers"], after["premises_serving_workers"]) == (1, 1)
    assert after["premises_worker_takes_jobs"] == 1


def test_what_is_served_is_told(server: MeteredServer) -> None:
    scrape = server.scrape()
    assert scrape["premises_ready"] == 1
    assert scrape["premises_redis_up"] == 1
    assert scrape["premises_redis_memory_bytes"] > 100_000
    assert scrape["premises_redis_evicted_keys_total"] == 0
    assert scrape["premises_corpus_info"] == 1
    assert scrape["premises_corpus_premises"] > 700
    assert scrape["premises_build_info"] == 1
    assert scrape["premises_api_processes"] == 1
    waits = {name: scrape.value("premises_queue_estimated_wait_seconds", **{"class": name})
             for name in ("states", "premises", "corpus")}  # fmt: skip
    assert waits == {"states": 0, "premises": 0, "corpus": 0}


def test_dashboard_and_alerts_ask_only_for_what_is_there(scrape: Scrape) -> None:
    labels, types = scrape.label_names(), scrape.sample_types()
    found = [(where, problem) for where, text in expressions() for problem in problems(text, labels, types)]
    assert found == []
    assert "route" in labels["premises_http_requests_total"]  # what the variable of the dashboard lists


def test_the_document_lists_every_metric_as_it_is_exported(scrape: Scrape) -> None:
    rows = re.findall(r"^\| `(premises_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    listed = {name: (kind, labels, meaning) for name, kind, labels, meaning in rows}
    assert len(rows) == len(listed)
    assert listed == {
        exposed_name(family.name, family.type): (
            family.type,
            ", ".join(f"`{label}`" for label in sorted(scrape.labels_of(family))),
            family.documentation,
        )
        for family in scrape.families.values()
    }


def test_while_redis_is_frozen_a_scrape_answers_in_time_and_says_so(server: MeteredServer) -> None:
    def answered_in_time() -> bool:
        started = time.monotonic()
        scrape = server.scrape()
        assert scrape["premises_redis_up"] == 0
        assert "premises_queue_tokens" not in scrape.label_names()
        assert scrape.total("premises_http_requests_total") > 0
        return time.monotonic() - started < 4.5  # 1.5 s; blocked by Redis each would take 5 s

    pid = int(server.deployment.client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            wait_until(answered_in_time)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: server.scrape()["premises_redis_up"] == 1)


def test_a_scrape_is_answered_while_the_corpus_loads(tmp_path: Path, server: MeteredServer) -> None:
    unprepared = server.deployment.environment | {"DATA_DIR": str(tmp_path), "API_KEYS": KEY}
    with running_api(tmp_path / "api.log", unprepared, ready=False) as url:
        assert httpx.post(f"{url}/retrieve", json={"state": PRIVATE_STATE}).status_code == 401
        scrape = Scrape.from_api(url, KEY)
    assert (scrape["premises_ready"], scrape["premises_corpus_premises"]) == (0, 0)
    assert scrape.value("premises_http_requests_total", route="/retrieve", status="200") == 0
    assert scrape.value("premises_http_requests_total", route="/retrieve", status="401") == 1
    assert scrape.value("premises_http_requests_rejected_total", reason="unauthorized") == 1
