"""The wanted corpora in a real Redis: who comes first counts, and what is prepared first stays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import orjson
import pytest
import redis.asyncio

from api.commands.corpora_listing import wait_until_served
from shared.corpus_reports import (
    REPORTS_KEY,
    CorpusReport,
    ProcessReport,
    read_reports,
    take_report_back,
    write_report,
)
from shared.corpus_source import CorpusSource
from shared.errors import CorpusConflictError, InvalidRequestError, NotReadyError, UnknownCorpusError
from shared.redis_client import async_redis
from shared.wanted_corpora import (
    MOST_CORPORA,
    WANTED_KEY,
    WantedCorpus,
    add_corpus,
    hold_digest,
    read_wanted,
    remove_corpus,
)
from tests.processes import running_redis

Result = TypeVar("Result")
OLD, NEW = CorpusSource(data="/old"), CorpusSource(data="/new")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@asynccontextmanager
async def emptied(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = async_redis(url)
    await client.flushall()
    try:
        yield client
    finally:
        await client.aclose()


def run(url: str, work: Callable[[redis.asyncio.Redis], Awaitable[Result]]) -> Result:
    """Do something with a Redis that holds nothing yet."""

    async def connected() -> Result:
        async with emptied(url) as client:
            return await work(client)

    return asyncio.run(connected())


def wanted(prefix: str, source: CorpusSource = OLD) -> WantedCorpus:
    return WantedCorpus.now(prefix, source, "command")


def test_of_two_sources_for_one_prefix_the_first_is_wanted(url: str) -> None:
    async def work(client: redis.asyncio.Redis) -> list[object]:
        orders = [add_corpus(client, wanted("v1.0", source)) for source in (OLD, NEW) * 5]
        outcomes = await asyncio.gather(*orders, return_exceptions=True)
        held = (await read_wanted(client))["v1.0"].source
        return [held, *outcomes]

    held, *outcomes = run(url, work)
    assert outcomes.count(True) == 1
    assert outcomes.count(False) == 4
    refused = [outcome for outcome in outcomes if isinstance(outcome, CorpusConflictError)]
    assert len(refused) == 5
    assert f"({held})" in str(refused[0])


def test_what_is_wanted_has_no_lifetime(url: str) -> None:
    async def work(client: redis.asyncio.Redis) -> int:
        await add_corpus(client, wanted("v1.0"))
        return int(await client.ttl(WANTED_KEY))

    assert run(url, work) == -1


def test_there_is_an_end_to_what_can_be_wanted(url: str) -> None:
    async def work(client: redis.asyncio.Redis) -> None:
        for number in range(MOST_CORPORA):
            await add_corpus(client, wanted(f"p{number}"))
        assert not await add_corpus(client, wanted("p0"))
        with pytest.raises(InvalidRequestError, match="remove one first"):
            await add_corpus(client, wanted("one-more"))

    run(url, work)


def test_the_digest_that_was_prepared_first_is_held(url: str) -> None:
    async def work(client: redis.asyncio.Redis) -> tuple[str, str, str]:
        entry = wanted("v1.0")
        await add_corpus(client, entry)
        first = await hold_digest(client, entry, "a" * 64)
        second = await hold_digest(client, entry, "b" * 64)
        assert not await add_corpus(client, entry)  # wanting it again does not forget the digest
        return first, second, (await read_wanted(client))["v1.0"].digest

    assert run(url, work) == ("a" * 64,) * 3


def test_a_corpus_that_was_removed_while_it_was_prepared_holds_no_digest(url: str) -> None:
    async def work(client: redis.asyncio.Redis) -> None:
        entry = wanted("v1.0")
        await add_corpus(client, entry)
        await remove_corpus(client, "v1.0")
        with pytest.raises(UnknownCorpusError):
            await hold_digest(client, entry, "a" * 64)
        await add_corpus(client, wanted("v1.0", NEW))
        with pytest.raises(UnknownCorpusError):
            await hold_digest(client, entry, "a" * 64)
        with pytest.raises(UnknownCorpusError):
            await remove_corpus(client, "v2.0")

    run(url, work)


def test_what_is_added_anew_holds_no_digest_of_what_was_removed(url: str) -> None:
    async def work(client: redis.asyncio.Redis) -> str:
        entry = wanted("v1.0")
        await add_corpus(client, entry)
        await hold_digest(client, entry, "a" * 64)
        await remove_corpus(client, "v1.0")
        await add_corpus(client, wanted("v1.0"))
        with pytest.raises(UnknownCorpusError):
            await hold_digest(client, entry, "a" * 64)
        return (await read_wanted(client))["v1.0"].digest

    assert run(url, work) == ""


def entry(**changes: object) -> bytes:
    """What Redis holds of a wanted corpus, with some fields of another kind."""
    return orjson.dumps(orjson.loads(wanted("v1.0").to_bytes()) | {"added_at": 1.0, **changes})


UNREADABLE = [
    b"\xff",
    b"[]",
    b'"x"',
    entry(source={"from": "elsewhere"}),
    entry(added_at=None),
    entry(added_at="yesterday"),
    entry(digest=5),
    entry(added_by=[]),
]


@pytest.mark.parametrize("value", UNREADABLE, ids=repr)
def test_an_entry_that_cannot_be_read_hides_no_other_and_is_told_once(
    url: str, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = f"v2.{UNREADABLE.index(value)}"

    async def work(client: redis.asyncio.Redis) -> list[str]:
        await add_corpus(client, wanted("v1.0"))
        await client.hset(WANTED_KEY, prefix, value)
        return [*await read_wanted(client), *await read_wanted(client)]

    assert run(url, work) == ["v1.0"] * 2
    assert caplog.text.count(prefix) == 1


@pytest.mark.parametrize("prefix", [b"../../x", b"\xff", b"", b"v1"])
def test_an_entry_at_what_is_no_prefix_is_left_out(url: str, prefix: bytes) -> None:
    async def work(client: redis.asyncio.Redis) -> list[str]:
        await client.hset(WANTED_KEY, prefix, entry())
        return list(await read_wanted(client))

    assert run(url, work) == []


@pytest.mark.parametrize("value", UNREADABLE, ids=repr)
def test_a_prefix_with_an_entry_that_cannot_be_read_is_taken_until_that_is_removed(url: str, value: bytes) -> None:
    async def work(client: redis.asyncio.Redis) -> bool:
        await client.hset(WANTED_KEY, "v1.0", value)
        with pytest.raises(CorpusConflictError, match="remove that one first"):
            await add_corpus(client, wanted("v1.0"))
        with pytest.raises(UnknownCorpusError):
            await hold_digest(client, wanted("v1.0"), "a" * 64)
        await remove_corpus(client, "v1.0")
        return await add_corpus(client, wanted("v1.0"))

    assert run(url, work)


@pytest.mark.parametrize(
    "changes",
    [
        {"process": 5},
        {"kind": "gardener"},
        {"corpora": []},
        {"corpora": {"v1.0": {"state": "of-a-later-version"}}},
        {"corpora": {"v1.0": {"state": "ready", "digest": 5}}},
    ],
    ids=str,
)
def test_a_report_that_cannot_be_read_hides_no_other(url: str, changes: dict[str, object]) -> None:
    report = ProcessReport("host:8000-1", "replica", {"v1.0": CorpusReport("ready")})

    async def work(client: redis.asyncio.Redis) -> list[ProcessReport]:
        await write_report(client, report)
        await write_report(client, ProcessReport("host-2", "preparer"))
        await client.hset(REPORTS_KEY, "host-2", orjson.dumps(orjson.loads(orjson.dumps(report)) | changes))
        return await read_reports(client)

    assert run(url, work) == [report]


def test_reports_are_there_as_long_as_their_process(url: str) -> None:
    async def work(client: redis.asyncio.Redis) -> list[list[ProcessReport]]:
        report = ProcessReport("host:8000-1", "replica", {"v1.0": CorpusReport("failed", "It is broken.", "d")})
        await write_report(client, report)
        await write_report(client, ProcessReport("host-2", "preparer"))
        before = await read_reports(client)
        await take_report_back(client, "host-2")
        return [before, [report], await read_reports(client)]

    before, expected, after = run(url, work)
    assert [report.process for report in before] == ["host-2", "host:8000-1"]
    assert after == expected


def test_who_waits_for_a_corpus_hears_nothing_of_the_one_before(url: str) -> None:
    async def work(client: redis.asyncio.Redis) -> None:
        entry = wanted("v1.0")
        before = CorpusReport("failed", "The one before is broken.", added_at=entry.added_at - 1)
        now = CorpusReport("failed", "This one is broken.", added_at=entry.added_at)
        await add_corpus(client, entry)
        for process, report in {"host-1": before, "host-2": now}.items():
            await write_report(client, ProcessReport(process, "replica", {"v1.0": report}))
        await wait_until_served(client, "v1.0")

    with pytest.raises(NotReadyError, match=r"^This one is broken"):
        run(url, work)
