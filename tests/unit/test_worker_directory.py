"""Why no worker serves a model: the sentence that operators and callers read."""

from dataclasses import replace

import pytest
import redis.asyncio

from api.worker_directory import WorkerDirectory
from shared.messages import Heartbeat
from tests.embedding_fakes import FAKE_HEARTBEAT

BEAT = replace(FAKE_HEARTBEAT, model="demo", namespace="a")


def directory(*workers: Heartbeat, pinned: str | None = None, pooling: str = "") -> WorkerDirectory:
    client = redis.asyncio.Redis()  # it is never asked
    return WorkerDirectory(client, "demo", pooling=pooling, workers=workers, pinned_namespace=pinned)


def test_without_any_worker_none_is_alive() -> None:
    assert "No embedding worker is alive" in directory().why_not_serving()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(BEAT, model="org/b"), "org/b."),
        (replace(BEAT, model_revision="v2"), "demo at v2."),
        (replace(BEAT, pooling="cls"), "demo with cls pooling."),
    ],
)
def test_workers_of_other_models_are_named(other: Heartbeat, named: str) -> None:
    found = directory(other)
    assert found.serving() == []
    assert found.why_not_serving() == f"No worker serves the model demo: the live ones serve {named}"


def test_a_worker_of_our_model_in_another_namespace_is_told_as_that() -> None:
    found = directory(BEAT, replace(BEAT, model="org/b"), pinned="b")
    assert found.serving() == []
    assert "another namespace" in found.why_not_serving()


def test_what_is_known_of_a_model_outlives_its_workers() -> None:
    found = directory(BEAT)
    assert found.known_model().dimension == 8
    found.workers = []
    assert (found.known_model().namespace, found.codec().dimension) == ("a", 8)
    assert found.serving() == []
