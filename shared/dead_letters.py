"""Dead letters: jobs, or the texts of jobs, that no worker can embed, kept for whoever looks into it.

They hold texts.  They are kept for 7 days, the newest 1,000 of them, 32 MB at most; without a lifetime of Redis' own,
since a full Redis evicts keys that have one.  The same texts failing again replace their letter.
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import orjson
import redis
from redis.client import Pipeline

from shared.embedding_cache import input_key
from shared.messages import EmbedJob, FailedText

LETTERS_KEY = "premises:dead-letters"
"""Hash of the letters by id."""

TIMES_KEY = "premises:dead-letters:times"
"""Sorted set of the ids by time, epoch seconds of Redis."""

KEPT_SECONDS = 7 * 24 * 3600
KEPT_LETTERS = 1000
KEPT_BYTES = 32 * 1024 * 1024
ID_DIGITS = 12

FORGET = """
local function forget(id)
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])) do forget(id) end
"""

PUT = f"""{FORGET}
redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
redis.call('ZADD', KEYS[2], now, ARGV[4])
local kept, bytes = 0, 0
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[2], 0, -1)) do
  kept, bytes = kept + 1, bytes + redis.call('HSTRLEN', KEYS[1], id)
  if kept > 1 and (kept > tonumber(ARGV[2]) or bytes > tonumber(ARGV[3])) then forget(id) end
end
"""

DROP_IF_UNCHANGED = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be embedded: a job reduced to the texts that failed, and why each did."""

    job: EmbedJob
    failed: list[FailedText]
    at: float
    """When they failed, epoch seconds."""

    @classmethod
    def of(cls, job: EmbedJob, failed: list[FailedText]) -> Self:
        """The letter for the failed texts of a job, as of now."""
        keys = {text.key for text in failed}
        return cls(replace(job, texts=[text for text in job.texts if input_key(text) in keys]), failed, time.time())

    @property
    def letter_id(self) -> str:
        """12 hexadecimal digits: the same for the same texts in the same namespace, however often they fail."""
        keys = sorted(text.key for text in self.failed)
        return hashlib.sha256(" ".join([self.job.namespace, *keys]).encode()).hexdigest()[:ID_DIGITS]

    @property
    def kinds(self) -> list[str]:
        """The kinds of failure in it, each once."""
        return sorted({text.kind for text in self.failed})

    def to_bytes(self) -> bytes:
        """The letter as stored."""
        return orjson.dumps({"job": self.job.to_wire(), "failed": self.failed, "at": self.at})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a stored letter."""
        wire = orjson.loads(data)
        return cls(EmbedJob.from_wire(wire["job"]), [FailedText(**failed) for failed in wire["failed"]], wire["at"])


def put_letter(pipeline: Pipeline, letter: DeadLetter) -> None:
    """Have a pipeline keep a letter, and forget those that are too old or too many."""
    limits = [KEPT_SECONDS, KEPT_LETTERS, KEPT_BYTES]
    pipeline.eval(PUT, 2, LETTERS_KEY, TIMES_KEY, *limits, letter.letter_id, letter.to_bytes())


def forget_old_letters(client: redis.Redis) -> None:
    """Remove the letters that have been kept for long enough."""
    client.eval(FORGET, 2, LETTERS_KEY, TIMES_KEY, KEPT_SECONDS)


def read_letters(client: redis.Redis) -> list[DeadLetter]:
    """All letters, newest first."""
    forget_old_letters(client)
    letters = [DeadLetter.from_bytes(value) for value in client.hvals(LETTERS_KEY) if isinstance(value, bytes)]
    return sorted(letters, key=lambda letter: -letter.at)


def drop_if_unchanged(client: redis.Redis, letter: DeadLetter) -> None:
    """Remove a letter, unless its texts have failed again since it was read."""
    client.eval(DROP_IF_UNCHANGED, 2, LETTERS_KEY, TIMES_KEY, letter.letter_id, letter.to_bytes())


def drop_letters(client: redis.Redis, letter_ids: Iterable[str]) -> int:
    """Remove letters; returns how many there were."""
    ids = list(letter_ids)
    if not ids:
        return 0
    pipeline = client.pipeline()
    pipeline.hdel(LETTERS_KEY, *ids)
    pipeline.zrem(TIMES_KEY, *ids)
    return int(pipeline.execute()[0])
