"""What a preparation tells while it runs and when it fails."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from api.commands.corpus_preparation import LONGEST_PAUSE_SECONDS, Preparation, printed_lines, run_preparation
from api.corpora_follower import ABOUT_TO_BE_MAPPED, NOBODY_PREPARES, WAITS_ITS_TURN, preparation_of
from shared.corpus_reports import CorpusReport, ProcessReport
from shared.corpus_source import CorpusSource
from shared.errors import CorpusError
from shared.wanted_corpora import WantedCorpus


@pytest.fixture
def preparation() -> Preparation:
    return Preparation(WantedCorpus.now("v1.0", CorpusSource(data="/x"), "command"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "Embedding the corpus:  34%|###4      | 1200/3482 [00:10<00:20, 110.32 premises/s]",
            "Embedding the corpus: 34 % (1200 of 3482).",
        ),
        ("12:00:01 INFO    embedding 5 of 7 premises through the queue", "embedding 5 of 7 premises through the queue"),
        ("The hub does not answer: try again.", "The hub does not answer: try again."),
        ("x" * 10_000, "x" * 500),
    ],
)
def test_the_latest_line_says_what_it_does(preparation: Preparation, line: str, told: str) -> None:
    preparation.tell(line)
    assert preparation.report == CorpusReport("preparing", told)


def test_after_each_failure_it_waits_longer_up_to_an_end(preparation: Preparation) -> None:
    pauses = [preparation.fail("It is broken.") for _ in range(2000)]
    assert pauses[:4] == [10, 20, 40, 80]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert preparation.due_at > time.monotonic() + LONGEST_PAUSE_SECONDS - 10
    assert preparation.report == CorpusReport("failed", "It is broken. It is tried again in 600 seconds.")


def test_what_is_prepared_is_due_no_more(preparation: Preparation) -> None:
    preparation.fail("It is broken.")
    preparation.finish("d" * 64)
    assert preparation.due_at == float("inf")
    assert preparation.report == CorpusReport("prepared", digest="d" * 64)


def test_lines_end_by_line_feed_or_carriage_return_wherever_they_are_cut() -> None:
    async def read() -> list[str]:
        stream = asyncio.StreamReader()
        for part in (b"one\ntw", b"o\r\r\nthree: 1%\rthr", b"ee: 2%\r", b"\xff end"):
            stream.feed_data(part)
        stream.feed_eof()
        return [line async for line in printed_lines(stream)]

    assert asyncio.run(read()) == ["one", "two", "three: 1%", "three: 2%", "\N{REPLACEMENT CHARACTER} end"]


def test_a_preparation_that_says_nothing_more_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    wanted = WantedCorpus.now("v1.0", CorpusSource(data="demo"), "command")
    with FileLock(tmp_path / "prepare.lock"), pytest.raises(CorpusError, match="said nothing for"):  # it waits for this
        asyncio.run(run_preparation(wanted, tmp_path, lambda _line: None, most_quiet_seconds=1.0))


WANTED = WantedCorpus(prefix="v1.0", source=CorpusSource(data="/x"), added_at=5.0, added_by="command")


def reports(*states: CorpusReport) -> list[ProcessReport]:
    return [
        ProcessReport(f"host-{number}", "preparer", {"v1.0": replace(state, added_at=5.0)})
        for number, state in enumerate(states)
    ]


def test_a_corpus_that_nobody_prepares_says_who_should() -> None:
    other = ProcessReport("host", "preparer", {"v2.0": CorpusReport("prepared")})
    replica = ProcessReport("host", "replica", {"v1.0": CorpusReport("waiting")})
    assert preparation_of(WANTED, [other, replica]) == CorpusReport("waiting", NOBODY_PREPARES)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([CorpusReport("waiting")], CorpusReport("waiting", WAITS_ITS_TURN)),
        ([CorpusReport("ready"), CorpusReport("waiting")], CorpusReport("waiting", WAITS_ITS_TURN)),
        ([CorpusReport("prepared")], CorpusReport("waiting", ABOUT_TO_BE_MAPPED)),
        ([CorpusReport("preparing", "1 %.")], CorpusReport("preparing", "This corpus is being prepared: 1 %.")),
        (
            [CorpusReport("prepared"), CorpusReport("failed", "No."), CorpusReport("preparing", "1 %.")],
            CorpusReport("failed", "This corpus cannot be prepared: No."),
        ),
    ],
)
def test_of_several_hosts_the_one_that_is_furthest_back_is_told(
    told: list[CorpusReport], expected: CorpusReport
) -> None:
    assert preparation_of(WANTED, reports(*told)) == expected


def test_what_is_said_of_the_corpus_that_was_there_before_is_not_told() -> None:
    before = ProcessReport("host", "preparer", {"v1.0": CorpusReport("failed", "It is broken.", added_at=4.0)})
    assert preparation_of(WANTED, [before, *reports(CorpusReport("waiting"))]).detail == WAITS_ITS_TURN
