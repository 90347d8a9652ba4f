"""Corpora that are wanted from the start, over restarts, with changed files, and on a server with keys."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from tests.corpora import declaration, unit_vectors, write_corpus
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.several_corpora import OPERATOR, SeveralCorpora, several_corpora, start_watch

USER = "user-key-of-the-tests-12345"


def as_bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeveralCorpora]:
    """One replica, closed to strangers, with a corpus that the setting names."""
    folder = tmp_path_factory.mktemp("over-time")
    first = write_corpus(folder / "first", {"A": [declaration("A.first")]}, revision="v5.0.0")
    corpora = orjson.dumps({"v5.0.0": {"data": str(first)}}).decode()
    with several_corpora(folder, 1, CORPORA=corpora, API_KEYS=USER) as several:
        several.headers = as_bearer(USER)
        several.wait_for("v5.0.0", "ready")
        yield several


def order(served: SeveralCorpora, method: str, prefix: str, key: str, body: object = None) -> httpx.Response:
    url = f"{served.replicas[0].url}/corpora/{prefix}"
    return httpx.request(method, url, json=body or {}, headers=as_bearer(key), timeout=PATIENCE_SECONDS)


def test_a_corpus_of_the_settings_is_served_from_the_start(served: SeveralCorpora) -> None:
    assert served.names("/v5.0.0") == ["A.first"]


def test_below_a_prefix_keys_are_wanted_as_everywhere_but_for_its_health(served: SeveralCorpora) -> None:
    url = served.replicas[0].url
    assert httpx.get(f"{url}/v5.0.0/indexed-modules").status_code == 401
    assert httpx.get(f"{url}/v5.0.0/health/ready").status_code == 200
    assert httpx.get(f"{url}/v0.0.0/health/ready").status_code == 401  # a stranger learns no prefixes
    assert httpx.get(f"{url}/corpora").status_code == 401


def test_a_users_key_changes_nothing_and_an_operators_opens_everything(served: SeveralCorpora) -> None:
    refused = order(served, "PUT", "mine", USER, {"data": "demo"})
    assert refused.status_code == 403
    assert "which users' keys are not" in refused.json()["detail"]
    assert order(served, "DELETE", "v5.0.0", USER).status_code == 403
    assert order(served, "DELETE", "v5.0.0", "neither-a-users-nor-an-operators").status_code == 401
    url = served.replicas[0].url
    assert httpx.get(f"{url}/v5.0.0/indexed-modules", headers=as_bearer(OPERATOR)).status_code == 200


def test_a_request_that_has_begun_is_answered_from_a_corpus_that_is_removed_meanwhile(
    served: SeveralCorpora, tmp_path: Path
) -> None:
    folder = write_corpus(tmp_path / "brief", {"A": [declaration("A.brief")]}, revision="v5.1.0")
    assert order(served, "PUT", "brief", OPERATOR, {"data": str(folder)}).status_code == 202
    served.wait_for("brief", "ready")
    url = served.replicas[0].url
    served.deployment.gate.write_text("")  # the goal is not embedded before this file has gone
    try:
        with ThreadPoolExecutor(1) as pool:
            body = {"state": "a goal that nobody has asked for", "k": 1}
            waiting = pool.submit(httpx.post, f"{url}/brief/retrieve", json=body, headers=served.headers, timeout=300)
            wait_until(lambda: served.replicas[0].process is not None and awaited_jobs(served) == 1)
            assert order(served, "DELETE", "brief", OPERATOR).status_code == 202
            served.wait_for("brief", "leaving")
            assert served.get("/brief/indexed-modules").status_code == 404
            served.deployment.gate.unlink()
            assert [premise["name"] for premise in waiting.result().json()] == ["A.brief"]
    finally:
        served.deployment.gate.unlink(missing_ok=True)
    served.wait_for("brief", None)


def awaited_jobs(served: SeveralCorpora) -> int:
    return int(served.get("/status").json()["replica"]["awaited_jobs"])


def test_a_prefix_whose_corpus_was_removed_takes_another_one(served: SeveralCorpora, tmp_path: Path) -> None:
    for name in ("A.before", "A.after"):
        folder = write_corpus(tmp_path / name, {"A": [declaration(name)]})
        added = served.run("add", "again", "--data", str(folder), "--wait")
        assert added.popen.returncode == 0, added.output()
        assert served.names("/again") == [name]
        assert served.run("remove", "again").popen.returncode == 0


def test_vectors_of_another_model_are_refused_with_a_sentence(served: SeveralCorpora, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "foreign", {"A": [declaration("A.foreign")]}, revision="v5.2.0")
    np.save(tmp_path / "foreign.npy", unit_vectors(1))
    (tmp_path / "foreign.json").write_text('{"namespace": "of-another-model"}')
    source = {"data": str(folder), "embeddings": str(tmp_path / "foreign.npy")}
    assert order(served, "PUT", "foreign", OPERATOR, source).status_code == 202
    served.wait_for("foreign", "failed")
    detail = served.get("/foreign/indexed-modules").json()["detail"]
    assert "model namespace of-another-model, not fake" in detail
    assert order(served, "DELETE", "foreign", OPERATOR).status_code == 202
    served.wait_for("foreign", None)


def test_after_a_restart_of_everything_what_was_wanted_is_served_again(served: SeveralCorpora, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "kept", {"A": [declaration("A.kept")]}, revision="v5.3.0")
    assert order(served, "PUT", "kept", OPERATOR, {"data": str(folder)}).status_code == 202
    served.wait_for("kept", "ready")
    restart(served)
    served.wait_for("kept", "ready")
    assert served.names("/kept") == ["A.kept"]


def test_a_corpus_whose_files_have_changed_is_not_served_at_the_prefix_of_the_first(
    served: SeveralCorpora, tmp_path: Path
) -> None:
    folder = write_corpus(tmp_path / "moving", {"A": [declaration("A.one")]}, revision="v5.4.0")
    assert order(served, "PUT", "moving", OPERATOR, {"data": str(folder)}).status_code == 202
    served.wait_for("moving", "ready")
    (folder / "Declarations" / "A.jsonl").write_bytes(orjson.dumps(declaration("A.two")) + b"\n")
    served.watch.stop()
    served.watch = start_watch(served.deployment)
    wait_until(lambda: preparers(served, "moving") == ["failed"])
    assert "when it was first prepared" in (served.listed("moving") or {})["preparers"][0]["detail"]
    assert served.names("/moving") == ["A.one"]  # what was prepared stays, also for who starts now
    restart(served)
    served.wait_for("moving", "ready")
    assert served.names("/moving") == ["A.one"]


def test_what_is_removed_and_added_again_at_once_is_a_new_corpus(served: SeveralCorpora, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "anew", {"A": [declaration("A.one")]}, revision="v5.5.0")
    assert order(served, "PUT", "anew", OPERATOR, {"data": str(folder)}).status_code == 202
    served.wait_for("anew", "ready")
    before = (served.listed("anew") or {})["digest"]
    (folder / "Declarations" / "A.jsonl").write_bytes(orjson.dumps(declaration("A.two")) + b"\n")
    assert order(served, "DELETE", "anew", OPERATOR).status_code == 202
    assert order(served, "PUT", "anew", OPERATOR, {"data": str(folder)}).status_code == 202
    added = served.run("add", "anew", "--data", str(folder), "--wait")
    assert added.popen.returncode == 0, added.output()
    assert (served.listed("anew") or {})["digest"] != before
    assert served.names("/anew") == ["A.two"]


def preparers(served: SeveralCorpora, prefix: str) -> list[str]:
    return [each["state"] for each in (served.listed(prefix) or {})["preparers"]]


def restart(served: SeveralCorpora) -> None:
    """Stop the API, the preparer and Redis, and start them again."""
    replica = served.replicas[0]
    stops = [threading.Thread(target=process.stop) for process in (served.watch, replica.process)]
    for stop in stops:
        stop.start()
    for stop in stops:
        stop.join()
    served.deployment.kill_redis()
    served.deployment.start_redis()
    served.watch = start_watch(served.deployment)
    served.replicas[0] = served.deployment.start_replica(replica.port)
