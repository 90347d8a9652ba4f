"""Several corpora in one deployment: added, served and removed while it runs, in every replica."""

import os
from collections.abc import Iterator
from functools import partial

import httpx
import psutil
import pytest

from tests.embedding_fakes import wait_until
from tests.several_corpora import OPERATOR, SeveralCorpora, several_corpora

OLD = {"A": ["A.one", "A.two"], "B": ["B.one"]}
NEW = {"A": ["A.two", "A.one", "A.three"], "Z": ["Z.one"]}
BEARER = {"Authorization": f"Bearer {OPERATOR}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeveralCorpora]:
    """Two corpora at prefixes beside the default one."""
    with several_corpora(tmp_path_factory.mktemp("corpora")) as several:
        old, new = several.write("old", OLD, "v4.1.0"), several.write("new", NEW, "v4.2.0")
        for prefix, folder in (("v4.1.0", old), ("v4.2.0", new)):
            done = several.run("add", prefix, "--data", str(folder), "--wait")
            assert done.popen.returncode == 0, done.output()
        yield several


@pytest.mark.parametrize("replica", [0, 1])
def test_each_prefix_answers_from_its_own_corpus_in_every_replica(served: SeveralCorpora, replica: int) -> None:
    assert served.names("/v4.1.0", replica) == ["A.one", "A.two", "B.one"]
    assert served.names("/v4.2.0", replica) == ["A.one", "A.three", "A.two", "Z.one"]
    assert len(served.names("", replica)) > 700  # the default corpus is as it was


def test_positions_mean_the_order_of_the_prefix(served: SeveralCorpora) -> None:
    assert served.get("/v4.1.0/indexed-premises").json() == ["A.one", "A.two", "B.one"]
    assert served.get("/v4.2.0/indexed-premises").json() == ["A.two", "A.one", "A.three", "Z.one"]
    assert served.get("/v4.2.0/indexed-modules").json() == ["A", "Z"]
    query = {"state": "⊢ True", "local_premises": [0], "imported_modules": [], "k": 9}
    found = [
        httpx.post(f"{served.replicas[0].url}/{prefix}/retrieve", json=query).json()[0]["name"]
        for prefix in ("v4.1.0", "v4.2.0")
    ]
    assert found == ["A.one", "A.two"]


@pytest.mark.parametrize("path", ["/max-new-premises", "/health/ready", "/status", "/", "/static/page.js", "/queue"])
def test_every_path_is_there_below_a_prefix(served: SeveralCorpora, path: str) -> None:
    assert served.get(f"/v4.1.0{path}").status_code == 200


def test_other_protocols_are_there_below_a_prefix(served: SeveralCorpora) -> None:
    found = served.get("/v4.2.0/api/search?query=True&results=1").json()
    assert [premise["rev"] for premise in found] == ["v4.2.0"]
    embedded = httpx.post(
        f"{served.replicas[0].url}/v4.2.0/v1/embeddings", json={"input": "x", "model": "fake-model"}
    ).json()
    assert len(embedded["data"]) == 1


def test_health_and_status_below_a_prefix_are_those_of_its_corpus(served: SeveralCorpora) -> None:
    assert served.get("/v4.1.0/health/ready").json()["revision"] == "v4.1.0"
    assert served.get("/v4.1.0/status").json()["corpus"]["premises"] == 3


def test_the_list_tells_every_corpus_its_digest_and_how_far_each_process_is(served: SeveralCorpora) -> None:
    listing = served.get("/corpora").json()
    assert listing["redis_reachable"]
    default, old, new = listing["corpora"]
    assert (default["default"], default["prefix"], default["state"]) == (True, "", "ready")
    assert (old["prefix"], old["state"], old["premises"], old["revision"]) == ("v4.1.0", "ready", 3, "v4.1.0")
    assert (new["default"], new["prefix"], new["modules"]) == (False, "v4.2.0", 2)
    assert len({corpus["digest"] for corpus in listing["corpora"]}) == 3
    for corpus in (old, new):
        assert [each["state"] for each in corpus["replicas"]] == ["ready", "ready"]
        assert {each["digest"] for each in corpus["replicas"]} == {corpus["digest"]}
        assert [each["state"] for each in corpus["preparers"]] == ["prepared"]


def test_the_command_lists_the_same_for_people(served: SeveralCorpora) -> None:
    shown = served.run("list").output()
    assert "(default)" in shown
    assert f"v4.1.0  digest {(served.listed('v4.1.0') or {})['digest'][:12]}  DATA=" in shown
    assert shown.count("replica ") == 6


def test_an_unknown_prefix_is_told_which_there_are(served: SeveralCorpora) -> None:
    answer = served.get("/v4.0.0/indexed-modules")
    assert answer.status_code == 404
    assert answer.json()["detail"] == (
        "No corpus is served at the prefix 'v4.0.0': use one of v4.1.0, v4.2.0, or none for the default one."
    )


def test_adding_the_same_again_changes_nothing(served: SeveralCorpora) -> None:
    again = served.run("add", "v4.1.0", "--data", str(served.deployment.folder / "old"), "--json")
    assert again.popen.returncode == 0
    assert '"changed": false' in again.output()


def test_another_corpus_under_the_same_prefix_is_refused(served: SeveralCorpora) -> None:
    other = str(served.deployment.folder / "new")
    by_command = served.run("add", "v4.1.0", "--data", other)
    assert by_command.popen.returncode == 2
    by_endpoint = httpx.put(f"{served.replicas[0].url}/corpora/v4.1.0", json={"data": other}, headers=BEARER)
    assert by_endpoint.status_code == 409
    for sentence in (by_command.output(), by_endpoint.json()["detail"]):
        assert "clients hold positions in its order: take another prefix, or remove that one first" in sentence
    assert served.names("/v4.1.0") == ["A.one", "A.two", "B.one"]


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer some-other-key-123456"}, {"Authorization": "Basic !"}], ids=str
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_orders_want_an_operators_key(served: SeveralCorpora, method: str, headers: dict[str, str]) -> None:
    url = f"{served.replicas[0].url}/corpora/v4.1.0"
    answer = httpx.request(method, url, json={"data": "demo"}, headers=headers)
    assert answer.status_code == 403
    assert "Only an operator may change what is served" in answer.json()["detail"]
    assert served.listed("v4.1.0")


@pytest.mark.parametrize(
    ("prefix", "body", "sentence"),
    [
        ("v1", {"data": "demo"}, "kept for the server's own paths"),
        ("-x", {"data": "demo"}, "cannot be a prefix"),
        ("v9", {"data": "x.tar.gz"}, "is no whole path"),
        ("v9", {}, "name it either by `data`"),
        ("v9", {"data": "demo", "data_revision": "v9"}, "name it either by `data`"),
        ("v9", {"data": "demo", "model": "x"}, "Extra inputs"),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why(
    served: SeveralCorpora, prefix: str, body: dict[str, str], sentence: str
) -> None:
    answer = httpx.put(f"{served.replicas[0].url}/corpora/{prefix}", json=body, headers=BEARER)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_a_corpus_that_cannot_be_read_fails_by_itself_and_says_why(served: SeveralCorpora) -> None:
    folder = served.write("broken", {"A": ["A.one"]}, "v4.3.0")
    (folder / "Declarations" / "A.jsonl").write_text('{"name": 1}\n')
    url = served.replicas[1].url
    assert httpx.put(f"{url}/corpora/broken", json={"data": str(folder)}, headers=BEARER).status_code == 202
    served.wait_for("broken", "failed")
    refused = served.get("/broken/indexed-modules")
    assert refused.status_code == 503
    assert "A.jsonl" in refused.json()["detail"]
    assert "It is tried again in" in refused.json()["detail"]
    assert served.get("/health/ready").status_code == 200
    assert served.names("/v4.1.0") == ["A.one", "A.two", "B.one"]
    assert httpx.delete(f"{url}/corpora/broken", headers=BEARER).status_code == 202
    served.wait_for("broken", None)


def test_a_corpus_that_is_removed_is_let_go_of_in_memory_and_on_disk(served: SeveralCorpora) -> None:
    folder = served.write("brief", {"A": ["A.brief"]}, "v4.4.0")
    added = served.run("add", "brief", "--data", str(folder), "--wait")
    assert added.popen.returncode == 0, added.output()
    served.names("/brief")
    snapshots = {path.name for path in (served.deployment.folder / "state" / "snapshots").iterdir() if path.is_dir()}
    removed = served.run("remove", "brief")
    assert removed.popen.returncode == 0
    served.wait_for("brief", None)
    assert served.get("/brief/indexed-modules").status_code == 404
    wait_until(lambda: len(snapshots - snapshot_folders(served)) == 1)
    [gone] = snapshots - snapshot_folders(served)
    for replica in served.replicas:
        wait_until(partial(lets_go, psutil.Process(replica.process.popen.pid), gone))


def lets_go(process: psutil.Process, folder: str) -> bool:
    return not any(folder in each.path for each in process.memory_maps())


def snapshot_folders(served: SeveralCorpora) -> set[str]:
    return {path.name for path in (served.deployment.folder / "state" / "snapshots").iterdir() if path.is_dir()}


def test_removing_what_is_not_there_is_refused(served: SeveralCorpora) -> None:
    for prefix in ("v0", os.fsdecode(b"\xff")):
        refused = served.run("remove", prefix)
        assert refused.popen.returncode == 2
        assert refused.output().startswith("No corpus is wanted at the prefix ")
    assert httpx.delete(f"{served.replicas[0].url}/corpora/v0", headers=BEARER).status_code == 404


def test_a_restarted_replica_serves_what_is_wanted_without_preparing_anew(served: SeveralCorpora) -> None:
    old = served.replicas[1]
    served.watch.stop()
    old.process.stop()
    served.replicas[1] = served.deployment.start_replica(old.port)
    served.wait_for("v4.2.0", "ready")
    assert served.names("/v4.2.0", 1) == ["A.one", "A.three", "A.two", "Z.one"]


def test_redis_going_away_leaves_served_what_is_served_and_its_return_changes_nothing(served: SeveralCorpora) -> None:
    served.names("/v4.1.0")  # the goal is cached in the process
    served.deployment.kill_redis()
    listing = served.get("/corpora").json()
    assert not listing["redis_reachable"]
    assert [corpus["prefix"] for corpus in listing["corpora"]] == ["", "v4.1.0", "v4.2.0"]
    assert served.names("/v4.1.0") == ["A.one", "A.two", "B.one"]
    assert served.get("/v4.2.0/indexed-premises").status_code == 200
    served.deployment.start_redis()
    wait_until(lambda: served.get("/v4.2.0/health/ready").status_code == 200)
    served.wait_for("v4.1.0", "ready")
