"""What a worker writes while it starts, works and is told to stop."""

import json
import signal
from pathlib import Path

import pytest

from shared.heartbeats import live_workers
from tests.embedding_fakes import wait_until
from tests.fake_deployment import fake_deployment


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_every_line_of_a_worker_that_is_told_to_stop_is_json(tmp_path: Path, sent: signal.Signals) -> None:
    with fake_deployment(tmp_path) as deployment, deployment.worker(LOG_FORMAT="json") as worker:
        wait_until(lambda: live_workers(deployment.client), 60)
        wait_until(lambda: "ready." in worker.output(), 60)
        worker.stop(sent)
        lines = [json.loads(line) for line in worker.output().splitlines()]
    assert any(f"told to stop by {sent.name}" in line["message"] for line in lines)
