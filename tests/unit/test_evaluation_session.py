"""Which queries an evaluation takes, and what of its options is saved."""

import os
from pathlib import Path

import pytest

from api.commands.evaluation_session import EvaluationOptions, EvaluationSession, choose
from api.commands.running_server import RunningServer, of_running_server
from api.commands.state_folder import StateFolder
from api.evaluation.evaluation_set import EvaluationQuery
from shared.errors import ArtifactError
from shared.settings import Settings

NOWHERE = "http://127.0.0.1:1"
QUERIES = [EvaluationQuery(f"t{number}", "A", number, "⊢ True", frozenset({"p"}), number) for number in range(50)]


def numbers(*, limit: int | None = None, sample: int | None = None, seed: int = 0) -> list[int]:
    return [query.number for query in choose(QUERIES, limit=limit, sample=sample, seed=seed)]


def test_all_queries_are_taken_where_nothing_else_is_said() -> None:
    assert numbers() == list(range(50))


def test_a_limit_takes_the_first_and_a_sample_takes_some_in_their_order() -> None:
    assert numbers(limit=3) == [0, 1, 2]
    sample = numbers(sample=10)
    assert len(set(sample)) == 10
    assert sample == sorted(sample) != list(range(10))
    assert numbers(sample=99) == list(range(50))


def test_a_sample_is_the_same_for_the_same_seed_alone() -> None:
    assert numbers(sample=10, seed=7) == numbers(sample=10, seed=7) != numbers(sample=10, seed=8)


def options(**given: object) -> EvaluationOptions:
    usual = dict.fromkeys(EvaluationOptions.model_fields)
    return EvaluationOptions.model_validate(
        {**usual, "evaluation_set": "demo", "in_process": False, "k": 8, "seed": 0, "concurrency": 8, **given}
    )


def test_a_run_for_a_pipe_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="no regular file"):
        EvaluationSession(options(output=tmp_path / "pipe", server=NOWHERE)).run()


def test_neither_keys_nor_the_address_that_may_hold_one_are_saved() -> None:
    saved = options(key="secret", server="http://user:secret@host", sample=4).as_saved()
    assert "secret" not in str(saved)
    assert saved["sample"] == 4


def test_the_corpus_is_the_demo_unless_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATA", "DATA_REPO", "DATA_REVISION"):
        monkeypatch.delenv(name, raising=False)
    assert options().settings().data == "demo"
    assert options(data=str(tmp_path)).settings().data == str(tmp_path)
    monkeypatch.setenv("DATA", str(tmp_path))
    assert options().settings().data == str(tmp_path)


def test_the_redis_of_a_running_server_is_found_unless_another_is_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    named = Settings(data_dir=tmp_path, redis_url="redis://elsewhere/0")
    assert of_running_server(settings) == settings
    with StateFolder(tmp_path).locked():
        RunningServer.of(settings, "redis://127.0.0.1:7777/0").write(tmp_path)
        assert of_running_server(settings).redis_url == "redis://127.0.0.1:7777/0"
        assert of_running_server(named) == named
    assert of_running_server(settings) == settings
