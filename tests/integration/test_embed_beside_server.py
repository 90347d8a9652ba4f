"""`premises embed` finds its queue by itself: that of the server over its data folder, or one of its own for a time."""

import sys
from pathlib import Path

import httpx
import psutil
import pytest

from api.client_spellings import read_spellings
from api.commands.running_server import LOCK_FILE, RunningServer
from api.commands.state_folder import StateFolder
from shared.corpus import read_corpus
from shared.settings import Settings
from tests.corpora import write_plain_corpus
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.exposition import Growth, Scrape
from tests.local_server import running_server
from tests.processes import running

STATE = "n : Nat\n⊢ Eq (HAdd.hAdd n 0) n"


def embed(corpus: Path, state: Path) -> str:
    """Run `premises embed` with nothing but the data folder; returns what it said."""
    command = [sys.executable, "-P", "-m", "api.commands.main", "embed", str(corpus), "--data-dir", str(state)]
    with running(command, state.parent / "embed.log", {}) as process:
        assert process.popen.wait(2 * PATIENCE_SECONDS) == 0, process.output()
        return process.output()


def test_beside_a_running_server_its_worker_is_used_and_the_server_knows_the_texts(tmp_path: Path) -> None:
    project, state = write_plain_corpus(tmp_path / "project", 20, revision="mine"), tmp_path / "state"
    texts = read_spellings(project, read_corpus(project))
    body = {
        "state": STATE,
        "new_premises": [{"name": f"n{number}", "decl": text} for number, text in enumerate(texts)],
        "imported_modules": [],
        "k": 32,
    }
    served = write_plain_corpus(tmp_path / "served", 3)
    with running_server(state, f"--data={served}") as server:
        server.wait_for("The premise server is ready")
        httpx.post(
            f"{server.url}/retrieve", json=body | {"new_premises": []}, timeout=PATIENCE_SECONDS
        ).raise_for_status()
        wait_until(lambda: Scrape.from_api(server.url)["premises_known_texts"] > 0)  # those of the served corpus
        known = Scrape.from_api(server.url)["premises_known_texts"]
        assert "No server runs" not in embed(project, state)
        both = known + 2 * len(texts)  # the corpus's own texts, and as a client spells them
        wait_until(lambda: Scrape.from_api(server.url)["premises_known_texts"] == both)
        before = Scrape.from_api(server.url)
        assert len(httpx.post(f"{server.url}/retrieve", json=body, timeout=PATIENCE_SECONDS).json()) == 20
        growth = Growth(before, Scrape.from_api(server.url))
        assert growth("premises_jobs_published_total") == 0
        assert growth("premises_cache_hits_total", tier="corpus") == 20
    assert RunningServer.find(state) is None


def test_without_a_server_redis_and_a_worker_run_for_as_long_as_the_command(tmp_path: Path) -> None:
    state = tmp_path / "state"
    said = embed(write_plain_corpus(tmp_path / "project", 20), state)
    assert f"No server runs over {state}" in said
    assert "20 embedded" in said
    assert [process for process in psutil.process_iter() if _is_of(process, state)] == []


def _is_of(process: psutil.Process, state: Path) -> bool:
    try:
        return process.environ().get("DATA_DIR") == str(state)
    except psutil.Error:
        return False


SETTINGS = Settings(model_id="m", model_revision="r", pooling="cls")


def test_a_server_is_found_while_it_holds_its_folder_and_no_longer(tmp_path: Path) -> None:
    server = RunningServer.of(SETTINGS, "redis://127.0.0.1:7/0")
    with StateFolder(tmp_path).locked():
        assert RunningServer.find(tmp_path) is None  # it has not said yet where its Redis is
        server.write(tmp_path)
        assert RunningServer.find(tmp_path) == server
    assert RunningServer.find(tmp_path) is None


def test_what_a_killed_server_left_is_not_believed(tmp_path: Path) -> None:
    RunningServer.of(SETTINGS, "redis://127.0.0.1:7/0").write(tmp_path)
    (tmp_path / LOCK_FILE).write_text("1")
    assert RunningServer.find(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"redis_url": 1}'])
def test_an_unreadable_note_is_as_none(tmp_path: Path, content: bytes) -> None:
    with StateFolder(tmp_path).locked():
        (tmp_path / "server.json").write_bytes(content)
        assert RunningServer.find(tmp_path) is None


@pytest.mark.parametrize(("mine", "expected"), [(None, ("m", "r", "cls")), ("mine", ("mine", "", ""))])
def test_the_servers_model_is_meant_unless_another_is_named(
    monkeypatch: pytest.MonkeyPatch, mine: str | None, expected: tuple[str, str, str]
) -> None:
    monkeypatch.delenv("MODEL_ID", raising=False)
    if mine:
        monkeypatch.setenv("MODEL_ID", mine)
    completed = RunningServer.of(SETTINGS, "redis://127.0.0.1:7/0").complete(Settings())
    assert (completed.model_id, completed.model_revision, completed.pooling) == expected
    assert completed.redis_url == "redis://127.0.0.1:7/0"
