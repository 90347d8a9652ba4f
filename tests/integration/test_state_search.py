"""`/api/search` as its clients call it: `#statesearch` of LeanSearchClient by curl, lean-lsp-mcp by urllib."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from typing import Any

import pytest

from shared.corpus import Corpus, read_corpus
from shared.demo import demo_corpus_path
from tests.integration.conftest import Server

GOAL = 'case h\nn : Nat\ns : "a+b/c|d^e"\n⊢ Eq (HAdd.hAdd n 0) n'

RESERVED = ";:?#[]@&=+$,!'()*% "
"""What Lean's `System.Uri.escapeUri` escapes of the printable ASCII characters, and nothing else."""


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(demo_corpus_path())


def escape_uri(text: str) -> str:
    """Lean's `System.Uri.escapeUri`."""
    kept = {chr(code) for code in range(ord(" "), 127)} - set(RESERVED)
    return "".join(letter if letter in kept else "".join(f"%{byte:02X}" for byte in letter.encode()) for letter in text)


def lean_search_client(server: Server, goal: str, results: str = "6", rev: str = "v4.22.0") -> Any:  # noqa: ANN401
    """The JSON that `curl -X GET` prints for LeanSearchClient, whatever the status is."""
    port = int(server.url.rsplit(":", 1)[1])
    query = f"/api/search?query={escape_uri(goal)}&results={results}&rev={rev}"
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("GET", query, headers={"User-Agent": "LeanSearchClient", "Accept": "*/*"})
        return json.loads(connection.getresponse().read())


def shown_error(answer: Any) -> str:  # noqa: ANN401
    """What LeanSearchClient shows of an answer that is no array."""
    assert not isinstance(answer, list)
    return f"error: {answer['error']}\ndescription: {answer['schema']['description']}"


def lean_lsp_mcp(server: Server, goal: str, results: int = 5) -> list[dict[str, str]]:
    """What lean-lsp-mcp makes of the answer: it drops the revision, which must be there."""
    request = urllib.request.Request(  # noqa: S310 - the server's own address
        f"{server.url}/api/search?query={urllib.parse.quote(goal)}&results={results}&rev=v4.17.0-rc1",
        headers={"User-Agent": "lean-lsp-mcp/0.1"},
        method="GET",
    )
    with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310 - as above
        found: list[dict[str, str]] = json.loads(response.read().decode("utf-8"))
    for premise in found:
        premise.pop("rev")
    return found


def retrieved(server: Server, goal: str, k: int) -> list[str]:
    return [premise["name"] for premise in server.client().post("/retrieve", json={"state": goal, "k": k}).json()]


def test_statesearch_gets_names_types_modules_and_the_revision(server: Server, corpus: Corpus) -> None:
    found = lean_search_client(server, GOAL)
    assert [premise["name"] for premise in found] == retrieved(server, GOAL, 6)
    of_name = {premise.name: premise for premise in corpus.premises}
    for premise in found:
        kept = of_name[premise["name"]]
        binders = f"∀ {kept.binders}, " if kept.binders else ""
        assert premise == {
            "name": kept.name,
            "formal_type": f"{binders}{kept.result_type}",
            "module": kept.module,
            "rev": corpus.revision,
        }


def test_lean_lsp_mcp_gets_as_many_as_it_asks_for(server: Server) -> None:
    found = lean_lsp_mcp(server, GOAL, 5)
    assert [premise["name"] for premise in found] == retrieved(server, GOAL, 5)
    assert set(found[0]) == {"name", "formal_type", "module"}


def test_without_a_number_as_many_as_statesearch_asks_for_by_itself(server: Server) -> None:
    assert len(server.client().get("/api/search", params={"query": GOAL}).json()) == 6


@pytest.mark.parametrize("number", ["0", "-3"])
def test_no_results_are_an_empty_array(server: Server, number: str) -> None:
    assert lean_search_client(server, GOAL, number) == []


@pytest.mark.parametrize(
    ("goal", "results", "named"), [("", "6", "'query'"), ("%0A ", "6", "'query'"), (GOAL, "many", "'results'")]
)
def test_what_the_caller_can_mend_is_400_with_a_sentence(server: Server, goal: str, results: str, named: str) -> None:
    response = server.client().get("/api/search", params={"query": urllib.parse.unquote(goal), "results": results})
    assert response.status_code == 400
    assert set(response.json()) == {"error", "schema"}
    shown = shown_error(lean_search_client(server, urllib.parse.unquote(goal), results))
    assert shown.startswith("error: Bad Request\ndescription: The parameter ")
    assert named in shown


def test_lean_lsp_mcp_hears_of_an_error_by_its_status(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400") as raised:
        lean_lsp_mcp(server, "")
    raised.value.close()


def test_a_long_goal_fits_into_the_address(server: Server) -> None:
    hypotheses = "\n".join(f"h{number} : Membership.mem s «x {number}»" for number in range(400))
    goal = f"{hypotheses}\n⊢ True"
    assert [premise["name"] for premise in lean_search_client(server, goal, "3")] == retrieved(server, goal, 3)


def test_the_goal_in_the_address_is_in_no_log(server: Server) -> None:
    lean_search_client(server, "secret : Goal\n⊢ secret")
    logged = server.logs[0].read_text()
    assert "GET /api/search 200" in logged
    assert "secret" not in logged
