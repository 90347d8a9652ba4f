"""The four endpoints of Lean clients on the demo corpus: every rule of the contract, every kind of bad input."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.corpus import Corpus, read_corpus
from shared.demo import demo_corpus_path
from shared.embedding_cache import text_key
from tests.embedding_fakes import wait_until
from tests.integration.conftest import Server

GOAL = "a b : Nat\n⊢ Eq (HAdd.hAdd a b) (HAdd.hAdd b a)"
ADD_COMM = "theorem My.add_comm (a b : Nat) : Eq (HAdd.hAdd a b) (HAdd.hAdd b a)"


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(demo_corpus_path())


def retrieve(server: Server, replica: int = 0, **fields: object) -> Any:  # noqa: ANN401 - JSON
    response = server.client(replica).post("/retrieve", json={"state": GOAL, "k": 8, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def names(answer: list[dict[str, Any]]) -> list[str]:
    return [premise["name"] for premise in answer]


def enqueued_jobs(response: httpx.Response, server: Server, replica: int = 0) -> str:
    """The count of enqueued jobs in the request's log line."""
    marker = f"request_id={response.headers['x-request-id']}"
    wait_until(lambda: marker in server.logs[replica].read_text())
    [line] = [line for line in server.logs[replica].read_text().splitlines() if marker in line]
    return line.split("enqueued_jobs=")[1].split()[0]


def test_the_answer_is_a_bare_array_best_first(server: Server) -> None:
    answer = retrieve(server)
    assert len(answer) == 8
    assert all(set(premise) == {"score", "name"} for premise in answer)
    scores = [premise["score"] for premise in answer]
    assert scores == sorted(scores, reverse=True)
    assert names(answer)[0] == "Nat.add_left_comm"


def test_max_new_premises_is_a_bare_integer(server: Server) -> None:
    assert server.client().get("/max-new-premises").json() == 2048


def test_indexed_premises_are_the_names_before_the_filters(server: Server, corpus: Corpus) -> None:
    indexed = server.client().get("/indexed-premises").json()
    assert indexed == corpus.unfiltered_names
    assert len(indexed) > len(corpus.premises)


def test_indexed_modules_are_sorted(server: Server, corpus: Corpus) -> None:
    indexed = server.client().get("/indexed-modules").json()
    assert indexed == sorted(indexed) == corpus.modules


LISTS = pytest.mark.parametrize("path", ["/indexed-premises", "/indexed-modules"])


@LISTS
def test_a_list_is_sent_plain_to_a_client_that_names_no_coding(server: Server, path: str) -> None:
    client = server.client()
    request = client.build_request("GET", path)
    del request.headers["accept-encoding"]
    response = client.send(request)
    assert "content-encoding" not in response.headers
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.headers["content-type"] == "application/json"


@LISTS
def test_a_list_is_sent_gzipped_to_a_client_that_prefers_it(server: Server, path: str) -> None:
    plain = server.client().get(path, headers={"Accept-Encoding": "identity"})
    gzipped = server.client().get(path, headers={"Accept-Encoding": "gzip;q=0.5, identity;q=0.1"})
    assert (plain.content, gzipped.headers["content-encoding"]) == (gzipped.content, "gzip")
    assert int(gzipped.headers["content-length"]) < len(plain.content)
    assert plain.headers["etag"] != gzipped.headers["etag"]
    assert plain.headers["vary"] == gzipped.headers["vary"] == "Accept-Encoding"


@LISTS
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_a_client_that_has_a_list_is_told_so_by_every_replica(server: Server, path: str, form: str) -> None:
    given = server.client(0).get(path)
    again = server.client(1).get(path, headers={"If-None-Match": form.format(given.headers["etag"])})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-type" not in again.headers
    for name in ("etag", "cache-control", "vary"):
        assert again.headers[name] == given.headers[name]


@LISTS
def test_a_client_that_has_something_else_gets_the_list(server: Server, path: str) -> None:
    of_another_coding = server.client().get(path, headers={"Accept-Encoding": "identity"}).headers["etag"]
    other = "/indexed-modules" if path == "/indexed-premises" else "/indexed-premises"
    of_another_list = server.client().get(other).headers["etag"]
    response = server.client().get(path, headers={"If-None-Match": f"{of_another_coding}, {of_another_list}"})
    assert response.status_code == 200
    assert response.content


@LISTS
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_head_gets_the_headers_of_the_get_alone(server: Server, path: str, coding: str) -> None:
    head = server.client().head(path, headers={"Accept-Encoding": coding})
    whole = server.client().get(path, headers={"Accept-Encoding": coding})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "vary", "cache-control"):
        assert head.headers[name] == whole.headers[name]
    assert server.client().head(path, headers={"If-None-Match": "*"}).status_code == 304


@LISTS
def test_a_list_must_be_revalidated_before_it_is_used_again(server: Server, path: str) -> None:
    assert server.client().get(path).headers["cache-control"] == "no-cache"


def test_without_lists_the_whole_corpus_is_accessible(server: Server, corpus: Corpus) -> None:
    answer = retrieve(server, k=1024, imported_modules=None, local_premises=None)
    assert sorted(names(answer)) == sorted(premise.name for premise in corpus.premises)


def test_empty_lists_leave_only_the_new_premises(server: Server) -> None:
    new = [{"name": "My.add_comm", "decl": ADD_COMM}]
    assert retrieve(server, imported_modules=[], local_premises=[]) == []
    assert names(retrieve(server, imported_modules=[], local_premises=[], new_premises=new)) == ["My.add_comm"]


def test_modules_may_be_given_by_position_name_or_file(server: Server, corpus: Corpus) -> None:
    module = "Init.Data.Nat.Basic"
    wanted = {premise.name for premise in corpus.premises if premise.module == module}
    for spelling in (corpus.modules.index(module), module, "Init/Data/Nat/Basic.lean"):
        assert set(names(retrieve(server, k=1024, imported_modules=[spelling]))) == wanted


def test_unknown_modules_and_premises_are_ignored(server: Server) -> None:
    strange = [10**6, -1, 10**30, "No.Such", ""]
    assert retrieve(server, imported_modules=strange, local_premises=strange) == []


def test_local_premises_add_to_the_modules_by_position_or_name(server: Server, corpus: Corpus) -> None:
    position = corpus.unfiltered_names.index("Nat.add_comm")
    answer = retrieve(server, imported_modules=[], local_premises=[position, "Nat.mul_comm"])
    assert set(names(answer)) == {"Nat.add_comm", "Nat.mul_comm"}


def test_a_filtered_position_resolves_to_the_survivor_of_its_name_or_nothing(server: Server, corpus: Corpus) -> None:
    duplicates = [at for at, name in enumerate(corpus.unfiltered_names) if name == "Nat.pos_of_ne_zero"]
    assert len(duplicates) == 2
    assert names(retrieve(server, local_premises=duplicates[1:])) == ["Nat.pos_of_ne_zero"]
    filtered = [at for at, row in enumerate(corpus.row_of_unfiltered.tolist()) if row < 0]
    assert filtered
    assert retrieve(server, local_premises=filtered) == []


def test_a_caller_in_the_module_system_sees_theorems_and_what_is_exposed(server: Server, corpus: Corpus) -> None:
    hidden = {
        premise.name: premise.module
        for premise in corpus.premises
        if premise.in_module_system and not premise.is_theorem and not premise.is_exposed
    }
    everything = {premise.name for premise in corpus.premises}
    assert set(names(retrieve(server, k=1024, caller_in_module_system=True))) == everything - set(hidden)
    name, module = next(iter(hidden.items()))
    opened = names(retrieve(server, k=1024, caller_in_module_system=True, imported_all_modules=[module]))
    assert name in opened
    assert set(opened) == everything - {other for other, home in hidden.items() if home != module}


def test_imported_all_modules_means_nothing_outside_the_module_system(server: Server, corpus: Corpus) -> None:
    assert len(retrieve(server, k=1024, imported_all_modules=[])) == len(corpus.premises)


def test_a_new_premise_shadows_the_indexed_one_of_its_name(server: Server) -> None:
    new = [{"name": "Nat.add_comm", "decl": "theorem Nat.add_comm : False"}]
    answer = retrieve(server, k=1024, new_premises=new)
    [shadowing] = [premise for premise in answer if premise["name"] == "Nat.add_comm"]
    [indexed] = [premise for premise in retrieve(server, k=1024) if premise["name"] == "Nat.add_comm"]
    assert shadowing["score"] < indexed["score"]


def test_new_premises_of_one_name_are_all_ranked(server: Server) -> None:
    new = [{"name": "Twice", "decl": ADD_COMM}, {"name": "Twice", "decl": "def Twice : Nat"}]
    assert names(retrieve(server, local_premises=[], new_premises=new)) == ["Twice", "Twice"]


def test_equal_scores_rank_indexed_premises_first(server: Server, corpus: Corpus) -> None:
    [text] = [premise.text for premise in corpus.premises if premise.name == "Nat.add_comm"]
    new = [{"name": "Copy.one", "decl": text}, {"name": "Copy.two", "decl": text}]
    answer = retrieve(server, local_premises=["Nat.add_comm"], new_premises=new)
    assert names(answer) == ["Nat.add_comm", "Copy.one", "Copy.two"]
    assert answer[0]["score"] == pytest.approx(answer[1]["score"], abs=1e-6)


def test_only_the_first_new_premises_are_looked_at(server: Server) -> None:
    new = [{"name": f"New.{number}", "decl": "theorem T : True"} for number in range(2050)]
    answer = retrieve(server, k=1024, local_premises=[], new_premises=[*new[:2047], new[2049], new[2048]])
    assert len(answer) == 1024
    one_too_many = [*new[:2048], {"name": "Too.many", "decl": GOAL}]
    assert "Too.many" not in names(retrieve(server, k=5, local_premises=[], new_premises=one_too_many))


def test_k_is_clamped_above_and_empty_below(server: Server) -> None:
    assert retrieve(server, k=-5) == retrieve(server, k=0) == []
    assert len(retrieve(server, k=10**9)) == len(retrieve(server, k=1024))
    assert retrieve(server, state=[GOAL, GOAL], k=0) == [[], []]


def test_a_list_of_states_gets_a_list_of_arrays(server: Server) -> None:
    one, other = retrieve(server, state=[GOAL, "p : Prop\n⊢ Not (And p (Not p))"])
    assert one == retrieve(server)
    assert one != other
    assert retrieve(server, state=[]) == []


def test_unknown_fields_are_ignored(server: Server) -> None:
    assert retrieve(server, some_future_field={"x": 1}) == retrieve(server)


def test_empty_texts_and_nul_are_accepted(server: Server) -> None:
    new = [{"name": "Empty", "decl": ""}, {"name": "Nul", "decl": "a\0b"}]
    assert len(retrieve(server, state="", local_premises=[], new_premises=new)) == 2
    assert len(retrieve(server, state="\0")) == 8


def test_a_state_longer_than_the_model_reads_is_truncated(server: Server) -> None:
    assert len(retrieve(server, state=GOAL + "\n" + "x : Nat " * 20_000)) == 8


def test_a_second_identical_request_enqueues_nothing(server: Server) -> None:
    body = {"state": "seen : once\n⊢ True", "k": 3, "new_premises": [{"name": "N", "decl": "theorem N : seen once"}]}
    first, second = (server.client().post("/retrieve", json=body) for _ in range(2))
    assert first.json() == second.json()
    assert (enqueued_jobs(first, server), enqueued_jobs(second, server)) == ("2", "0")


def test_what_one_replica_had_embedded_the_other_does_not_enqueue(server: Server) -> None:
    body = {"state": "seen : by one replica\n⊢ True", "k": 3}
    first = server.client(0).post("/retrieve", json=body)
    second = server.client(1).post("/retrieve", json=body)
    assert first.json() == second.json()
    assert (enqueued_jobs(first, server, 0), enqueued_jobs(second, server, 1)) == ("1", "0")


def test_the_state_is_cached_under_its_content_hash(server: Server) -> None:
    retrieve(server, state="cached : state\n⊢ True")
    assert len(server.redis.keys(f"emb:*:{text_key('cached : state' + chr(10) + '⊢ True')}")) == 1


def test_a_quarter_of_a_million_local_premises_are_answered(server: Server, corpus: Corpus) -> None:
    positions = [number % len(corpus.unfiltered_names) for number in range(250_000)]
    assert len(retrieve(server, k=1024, local_premises=positions)) == len(corpus.premises)


def test_a_body_of_ten_megabytes_is_answered(server: Server) -> None:
    new = [{"name": f"Long.{number}", "decl": "x" * 1_000_000} for number in range(10)]
    assert len(retrieve(server, local_premises=[], new_premises=new)) == 8


def test_a_text_over_the_limit_is_refused_by_name(server: Server) -> None:
    state = {"state": ["short", "x" * 1_000_001], "k": 3}
    premise = {"state": "a", "k": 3, "new_premises": [{"name": "Foo.bar", "decl": "x" * 1_000_001}]}
    answers = [server.client().post("/retrieve", json=body) for body in (state, premise)]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert [answer.json() for answer in answers] == [
        {"detail": "State 1 has 1000001 characters: send at most 1000000."},
        {"detail": "The new premise 'Foo.bar' has 1000001 characters: send at most 1000000."},
    ]


def test_a_text_that_is_not_looked_at_may_be_of_any_length(server: Server) -> None:
    assert retrieve(server, state="x" * 1_000_001, k=0) == []
    premises = [{"name": f"N{number}", "decl": "same"} for number in range(2048)]
    answer = retrieve(server, local_premises=[], new_premises=[*premises, {"name": "Last", "decl": "x" * 1_000_001}])
    assert len(answer) == 8


BAD_BODIES: dict[str, bytes] = {
    "malformed JSON": b'{"state": "a", "k": ',
    "nothing": b"",
    "an array": b"[]",
    "no state": b'{"k": 3}',
    "no k": b'{"state": "a"}',
    "a number for state": b'{"state": 3, "k": 3}',
    "a null state": b'{"state": null, "k": 3}',
    "words for k": b'{"state": "a", "k": "many"}',
    "half a k": b'{"state": "a", "k": 2.5}',
    "an object for modules": b'{"state": "a", "k": 3, "imported_modules": {}}',
    "a boolean among modules": b'{"state": "a", "k": 3, "imported_modules": [true]}',
    "a nested list of premises": b'{"state": "a", "k": 3, "local_premises": [[1]]}',
    "a new premise without decl": b'{"state": "a", "k": 3, "new_premises": [{"name": "n"}]}',
    "a new premise that is text": b'{"state": "a", "k": 3, "new_premises": ["n"]}',
    "a null for the module system": b'{"state": "a", "k": 3, "caller_in_module_system": null}',
    "a lone surrogate": b'{"state": "\\ud800", "k": 3}',
    "a lone surrogate in a new premise": b'{"state": "a", "k": 3, "new_premises": [{"name": "n", "decl": "\\udc00"}]}',
    "bytes that are no UTF-8": b'{"state": "\xff\xfe", "k": 3}',
    "too many states": json.dumps({"state": ["a"] * 65, "k": 3}).encode(),
    "NaN": b'{"state": "a", "k": NaN}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_body_that_cannot_be_used_gets_422_and_a_sentence(server: Server, body: bytes) -> None:
    response = server.client().post("/retrieve", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    answer = response.json()
    assert isinstance(answer, dict)
    assert isinstance(answer["detail"], str)
    assert len(answer["detail"]) > 10
    assert '"input"' not in response.text


def test_a_body_over_the_limit_gets_413_whether_or_not_its_length_is_declared(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(17):
            yield b"x" * 1024 * 1024

    declared = server.client().post("/retrieve", content=b"x" * (16 * 1024 * 1024 + 1))
    streamed = server.client().post("/retrieve", content=chunks())
    for response in (declared, streamed):
        assert response.status_code == 413
        assert isinstance(response.json()["detail"], str)


def test_unknown_paths_and_methods_get_json(server: Server) -> None:
    for response in (server.client().get("/nowhere"), server.client().get("/retrieve")):
        assert response.status_code in (404, 405)
        assert isinstance(response.json()["detail"], str)


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/retrieve", "POST"), ("/indexed-modules", "GET, HEAD"), ("/corpora/v1.0", "DELETE, PUT"), ("/corpora", "GET")],
)
def test_a_method_that_a_path_does_not_take_is_told_those_that_it_takes(
    server: Server, path: str, methods: str
) -> None:
    response = server.client().request("PATCH", path)
    assert response.status_code == 405
    assert response.headers["Allow"] == methods


def test_no_path_redirects(server: Server) -> None:
    assert server.client().get("/indexed-modules/").status_code == 404


def test_a_request_id_is_returned_and_a_strange_one_replaced(server: Server) -> None:
    given = server.client().get("/max-new-premises", headers={"X-Request-ID": "mine-1"})
    strange = server.client().get("/max-new-premises", headers={"X-Request-ID": "two words"})
    assert given.headers["x-request-id"] == "mine-1"
    assert strange.headers["x-request-id"] != "two words"


def test_the_stages_are_timed_for_the_client(server: Server) -> None:
    response = server.client().post("/retrieve", json={"state": GOAL, "k": 1})
    assert {part.split(";")[0] for part in response.headers["server-timing"].split(", ")} >= {
        "select",
        "embed",
        "search",
    }


def test_api_and_worker_say_at_their_start_how_they_are_configured(server: Server) -> None:
    for log, name in ((server.logs[0].read_text(), "API"), (server.worker.output(), "worker")):
        [line] = [line for line in log.splitlines() if f"the {name} starts with " in line]
        assert f" REDIS_URL={server.redis_url} " in line
        assert " MAX_K=1024 " in line


def test_no_text_of_a_user_reaches_the_logs(server: Server) -> None:
    private = "unpublished_lemma_of_mine"
    retrieve(
        server, state=f"{private} : Nat\n⊢ True", new_premises=[{"name": private, "decl": f"theorem {private} : X"}]
    )
    logged = [*(log.read_text() for log in server.logs), server.worker.output()]
    assert not [log for log in logged if private in log]


def test_health_is_ready(server: Server, corpus: Corpus) -> None:
    for path in ("/health", "/health/ready"):
        response = server.client().get(path)
        assert response.status_code == 200
        assert response.json()["digest"] == corpus.digest
    assert server.client().get("/health/live").status_code == 200


def test_recorded_requests_of_real_lean_are_answered(server: Server, shared_data: Path) -> None:
    recorded = sorted((shared_data / "recorded").glob("*.json"))
    assert recorded
    for path in recorded:
        request = json.loads(path.read_text())
        response = server.client().request(
            request["method"],
            request["path"],
            headers=[tuple(header) for header in request["headers"]],
            content=request["body"].encode() if request["body"] is not None else None,
        )
        assert response.status_code == 200, (path.name, response.text)
        if request["method"] == "POST":
            assert isinstance(response.json(), list)


def test_metrics_are_in_prometheus_format(server: Server) -> None:
    answer = server.client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "premises_search_widened_total 0.0" in answer.text.splitlines()
