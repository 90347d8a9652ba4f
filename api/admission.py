"""Admission: refuse at once what the queue cannot take, by leases in Redis that heal themselves.

A lease belongs to a job, lives in a sorted set `job:tokens` scored by its expiry in Redis' own time, and is released
with the job's last waiter or by the worker that finished it.  A worker drops a job whose lease is gone.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import redis.asyncio

from shared.embedding_cache import EmbeddingInput
from shared.errors import FullPlace, OverloadedError
from shared.messages import EmbedJob, Priority
from shared.redis_client import RedisError, leases_key, redis_away

ADMIT = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local held = redis.call('ZRANGE', KEYS[1], 0, -1)
local tokens = 0
for _, member in ipairs(held) do tokens = tokens + tonumber(string.match(member, ':(%d+)$')) end
local wanted = 0
for i = 4, #ARGV do wanted = wanted + tonumber(string.match(ARGV[i], ':(%d+)$')) end
if #held > 0 and (tokens + wanted > tonumber(ARGV[1]) or #held + #ARGV - 3 > tonumber(ARGV[2])) then
  return {0, tokens, wanted, #held}
end
for i = 4, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[i]) end
return {1, tokens, wanted, #held}
"""

LONGEST_RETRY_AFTER_SECONDS = 120
GRACE_SECONDS = 5.0
MOST_OWED_LEASES = 10_000
LARGEST_SPREAD = 1.5
USABLE_SHARE_OF_THE_TIME_LEFT = 0.8
"""The speed that workers report is an average, and other classes of work take their share of it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What may wait in one class of work."""

    tokens: int
    jobs: int
    seconds: float = math.inf
    """The tokens again, as the time that they take at the speed that workers report."""

    def tokens_at(self, tokens_per_second: float, seconds_left: float) -> float:
        """Tokens that may wait, so that who comes last is served before its own deadline."""
        usable_seconds = min(self.seconds, USABLE_SHARE_OF_THE_TIME_LEFT * seconds_left)
        return min(self.tokens, tokens_per_second * usable_seconds) if tokens_per_second else self.tokens


def estimated_tokens(texts: Sequence[EmbeddingInput], tokens_per_byte: float, longest: int) -> int:
    """Tokens that texts will cost, from their UTF-8 size; each at least 1 and at most `longest`, the model's limit."""
    lengths = (
        math.ceil(len(text.encode()) * tokens_per_byte) if isinstance(text, str) else len(text) for text in texts
    )
    return sum(min(longest, max(1, length)) for length in lengths)


class Admission:
    """Takes and releases leases; an empty queue admits any one request."""

    def __init__(self, client: redis.asyncio.Redis, limits: dict[Priority, Limit]) -> None:
        self._client = client
        self._limits = limits
        self._admit = client.register_script(ADMIT)
        self.refused_requests = 0
        self._owed: list[tuple[str, str]] = []
        self._settling: asyncio.Future[None] | None = None

    async def admit(self, jobs: Sequence[EmbedJob], *, lease_seconds: float, tokens_per_second: float) -> None:
        """Take a lease for every job (all of one class) or raise `OverloadedError` with an honest Retry-After."""
        limit = self._limits[jobs[0].priority]
        most_tokens = limit.tokens_at(tokens_per_second, lease_seconds)
        key = leases_key(jobs[0].namespace, jobs[0].priority)
        leases = [job.lease for job in jobs]
        try:
            admitted, waiting, wanted, held = await self._admit(
                keys=[key], args=[most_tokens, limit.jobs, lease_seconds + GRACE_SECONDS, *leases]
            )
        except RedisError as error:
            raise redis_away(error) from error
        if not admitted:
            self.refused_requests += 1
            too_many_tokens = min(waiting, waiting + wanted - most_tokens)  # an empty queue admits anything
            too_many_jobs = (held + len(jobs) - limit.jobs) * waiting / held
            full: FullPlace = "queue_tokens" if waiting + wanted > most_tokens else "queue_jobs"
            raise overloaded(max(too_many_tokens, too_many_jobs), tokens_per_second, full)

    async def renew(self, jobs: Sequence[EmbedJob], *, lease_seconds: float, only_live: bool) -> None:
        """Let leases of jobs live for so long; `only_live`: not of those that are done.  Raises `NotReadyError`."""
        pipeline = self._client.pipeline(transaction=False)
        try:
            seconds, microseconds = await self._client.time()
            for job in jobs:
                expiry = seconds + microseconds / 1e6 + lease_seconds + GRACE_SECONDS
                pipeline.zadd(leases_key(job.namespace, job.priority), {job.lease: expiry}, xx=only_live)
            await pipeline.execute()
        except RedisError as error:
            raise redis_away(error) from error

    def release(self, jobs: Sequence[EmbedJob]) -> None:
        """Give leases back: nobody waits for these jobs any more.  Nobody waits for that either."""
        self._owed += [(leases_key(job.namespace, job.priority), job.lease) for job in jobs]
        self._settling = asyncio.ensure_future(self.settle())

    async def settle(self) -> None:
        """Give back all leases that are owed: one that stays keeps others out until it expires.

        While Redis is away they are remembered, and the sweep tries again.
        """
        owed, self._owed = self._owed, []
        if not owed:
            return
        pipeline = self._client.pipeline(transaction=False)
        for key, lease in owed:
            pipeline.zrem(key, lease)
        try:
            await pipeline.execute()
        except RedisError:
            self._owed = (owed + self._owed)[-MOST_OWED_LEASES:]


def overloaded(tokens: float, tokens_per_second: float, full: FullPlace = "queue_tokens") -> OverloadedError:
    """A refusal until `tokens` have been worked off; spread, so that who is refused together does not return so."""
    seconds = tokens / tokens_per_second if tokens_per_second else LONGEST_RETRY_AFTER_SECONDS
    spread = seconds * random.uniform(1.0, LARGEST_SPREAD)
    retry_after = min(LONGEST_RETRY_AFTER_SECONDS, max(1, math.ceil(spread)))
    return OverloadedError(f"The embedding queue is full: try again in {retry_after} s.", retry_after, full)
