"""Admission: refuse at once what the queue cannot take, by leases in Redis that heal themselves.

A lease belongs to a job, lives in a sorted set `job:tokens` scored by its expiry in Redis' own time, and is released
with the job's last waiter or by the worker that finished it.  A worker drops a job whose lease is gone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import redis.asyncio

from shared.errors import NotReadyError, OverloadedError
from shared.messages import EmbedJob, Priority
from shared.redis_client import AWAY, leases_key

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
  return {0, tokens}
end
for i = 4, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[i]) end
return {1, tokens}
"""

LONGEST_RETRY_AFTER_SECONDS = 120
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Limit:
    """What may wait in one class of work."""

    tokens: int
    jobs: int


def estimated_tokens(texts: Sequence[str], tokens_per_byte: float, longest: int) -> int:
    """Tokens that texts will cost, from their UTF-8 size; each at least 1 and at most `longest`, the model's limit."""
    return sum(min(longest, max(1, math.ceil(len(text.encode()) * tokens_per_byte))) for text in texts)


class Admission:
    """Takes and releases leases; an empty queue admits any one request."""

    def __init__(self, client: redis.asyncio.Redis, limits: dict[Priority, Limit]) -> None:
        self._client = client
        self._limits = limits
        self._admit = client.register_script(ADMIT)
        self.refused_requests = 0

    async def admit(self, jobs: Sequence[EmbedJob], *, lease_seconds: float, tokens_per_second: float) -> None:
        """Take a lease for every job (all of one class) or raise `OverloadedError` with an honest Retry-After."""
        limit = self._limits[jobs[0].priority]
        key = leases_key(jobs[0].namespace, jobs[0].priority)
        leases = [job.lease for job in jobs]
        try:
            admitted, waiting_tokens = await self._admit(
                keys=[key], args=[limit.tokens, limit.jobs, lease_seconds + GRACE_SECONDS, *leases]
            )
        except AWAY as error:
            raise NotReadyError("Redis cannot be reached: try again in a few seconds.") from error
        if not admitted:
            self.refused_requests += 1
            raise _overloaded(int(waiting_tokens), tokens_per_second)

    async def release(self, jobs: Sequence[EmbedJob]) -> None:
        """Give leases back: nobody waits for these jobs any more.  Redis being away leaves them to expire."""
        try:
            for job in jobs:
                await self._client.zrem(leases_key(job.namespace, job.priority), job.lease)
        except AWAY:
            return


def _overloaded(waiting_tokens: int, tokens_per_second: float) -> OverloadedError:
    seconds = waiting_tokens / tokens_per_second if tokens_per_second else LONGEST_RETRY_AFTER_SECONDS
    retry_after = min(LONGEST_RETRY_AFTER_SECONDS, max(1, math.ceil(seconds)))
    return OverloadedError(f"The embedding queue is full: try again in {retry_after} seconds.", retry_after)
