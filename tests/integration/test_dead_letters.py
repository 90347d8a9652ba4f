"""Dead letters in a real Redis: what is kept, for how long, and that a full list forgets its oldest."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import redis
from click.testing import CliRunner, Result

from shared.celery_commands import dead_letters
from shared.dead_letters import (
    KEPT_BYTES,
    KEPT_LETTERS,
    KEPT_SECONDS,
    LETTERS_KEY,
    TIMES_KEY,
    DeadLetter,
    drop_if_unchanged,
    drop_letters,
    put_letter,
    read_letters,
)
from shared.embedding_cache import text_key
from shared.messages import EmbedJob, FailedText, Priority
from shared.redis_client import priority_list
from tests.processes import celery_client, running_redis


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


def letter(*texts: str, job_id: str = "job") -> DeadLetter:
    job = EmbedJob(job_id, "fake", Priority.BULK, [*texts, "a neighbour"], "channel", deadline=0.0)
    return DeadLetter.of(job, [FailedText(text_key(text), "model_error", "no") for text in texts])


def put(client: redis.Redis, *letters: DeadLetter) -> None:
    pipeline = client.pipeline()
    for each in letters:
        put_letter(pipeline, each)
    pipeline.execute()


def test_a_letter_is_read_as_it_was_put(client: redis.Redis) -> None:
    put(client, letter("⊢ a", "b"))
    [read] = read_letters(client)
    assert (read.job, read.failed) == (letter("⊢ a", "b").job, letter("⊢ a", "b").failed)
    assert read.job.texts == ["⊢ a", "b"]


def test_the_same_texts_replace_their_letter_others_have_their_own(client: redis.Redis) -> None:
    put(client, letter("a", job_id="first"), letter("b"), letter("a", job_id="second"))
    assert sorted((each.job.texts, each.job.job_id) for each in read_letters(client)) == [
        (["a"], "second"),
        (["b"], "job"),
    ]


def test_letters_older_than_a_week_are_forgotten(client: redis.Redis) -> None:
    put(client, letter("old"), letter("young"))
    seconds, _ = client.time()
    client.zadd(TIMES_KEY, {letter("old").letter_id: seconds - KEPT_SECONDS - 1})
    assert [each.job.texts for each in read_letters(client)] == [["young"]]
    assert client.hlen(LETTERS_KEY) == client.zcard(TIMES_KEY) == 1


def test_of_too_many_letters_the_oldest_are_forgotten(client: redis.Redis) -> None:
    put(client, *(letter(f"text {number}") for number in range(KEPT_LETTERS)))
    seconds, _ = client.time()
    ages = {letter(f"text {number}").letter_id: seconds - KEPT_LETTERS + number for number in range(KEPT_LETTERS)}
    client.zadd(TIMES_KEY, ages)
    put(client, *(letter(f"new {number}") for number in range(5)))
    kept = {each.job.texts[0] for each in read_letters(client)}
    assert kept == {f"text {number}" for number in range(5, KEPT_LETTERS)} | {f"new {number}" for number in range(5)}


def test_of_too_large_letters_the_oldest_are_forgotten_but_never_the_newest(client: redis.Redis) -> None:
    put(client, letter("small"))
    put(client, letter("x" * (KEPT_BYTES + 1)))
    [kept] = read_letters(client)
    assert len(kept.job.texts[0]) == KEPT_BYTES + 1


def test_dropped_letters_are_gone_and_counted(client: redis.Redis) -> None:
    put(client, letter("a"), letter("b"))
    assert drop_letters(client, [letter("a").letter_id, "unknown"]) == 1
    assert drop_letters(client, []) == 0
    assert [each.job.texts for each in read_letters(client)] == [["b"]]
    assert client.zcard(TIMES_KEY) == 1


def test_a_letter_that_was_replaced_since_it_was_read_is_kept(client: redis.Redis) -> None:
    put(client, letter("a", job_id="first"), letter("b"))
    read = {each.job.texts[0]: each for each in read_letters(client)}
    put(client, letter("a", job_id="second"))
    for each in read.values():
        drop_if_unchanged(client, each)
    assert [each.job.job_id for each in read_letters(client)] == ["second"]


def test_no_letter_can_be_evicted(client: redis.Redis) -> None:
    put(client, letter("a"))
    assert client.ttl(LETTERS_KEY) == client.ttl(TIMES_KEY) == -1


def run_command(redis_url: str, *arguments: str) -> Result:
    """`celery -A … dead-letters`, in this process."""
    with celery_client(redis_url) as app:
        return CliRunner().invoke(dead_letters, arguments, obj=SimpleNamespace(app=app))


def test_one_of_two_letters_is_requeued_by_its_id(redis_url: str, client: redis.Redis) -> None:
    put(client, letter("a"), letter("b"))
    requeued = run_command(redis_url, "requeue", letter("a").letter_id)
    assert (requeued.exit_code, "requeued: 1 texts" in requeued.stdout) == (0, True)
    assert [each.job.texts for each in read_letters(client)] == [["b"]]
    assert client.llen(priority_list("embed.fake", Priority.BULK)) == 1


def test_of_an_unknown_letter_the_command_says_so_and_does_nothing(redis_url: str, client: redis.Redis) -> None:
    put(client, letter("a"))
    for command in ("requeue", "drop"):
        refused = run_command(redis_url, command, letter("a").letter_id, "0123456789ab")
        assert (refused.exit_code, "There is no dead letter 0123456789ab" in refused.output) == (1, True)
    assert len(read_letters(client)) == 1


def test_letters_have_to_be_named(redis_url: str, client: redis.Redis) -> None:
    put(client, letter("a"))
    for command in ("requeue", "drop"):
        assert run_command(redis_url, command).exit_code == 2
    assert len(read_letters(client)) == 1
