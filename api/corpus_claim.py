"""One corpus a deployment and prefix: the order of premises is a contract, so replicas must never serve different ones.

The first ready replica claims its corpus digest and keeps the claim alive; a newcomer with another digest stays unready
until the claim has ended, and then until it is sure that nobody renews it: after a time in which Redis was away,
replicas that serve already take their claim back.
"""

import asyncio
import logging
from dataclasses import dataclass

import redis.asyncio

from shared.redis_client import RedisError

CLAIM_KEY = "premises:corpus-claim"
"""Hash of `digest`, `until` and `sure_at`, in Redis' own time.  Without a lifetime, so that it is never evicted."""

CLAIM_SECONDS = 10
RENEW_SECONDS = 2.0
SURE_SECONDS = 2.5 * RENEW_SECONDS
"""After this every replica that serves has renewed its claim."""

RENEW = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local digest, claim_seconds, sure_seconds, serving = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local held, ends, sure_at = unpack(redis.call('HMGET', KEYS[1], 'digest', 'until', 'sure_at'))
if serving then
  sure_at = now
elseif not held then
  local up = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  sure_at = up < tonumber(sure_seconds) and now + sure_seconds or now
elseif held ~= digest then
  if tonumber(ends) > now then return {held, '0'} end
  sure_at = now + sure_seconds
end
redis.call('HSET', KEYS[1], 'digest', digest, 'until', now + claim_seconds, 'sure_at', sure_at)
return {digest, tostring(sure_at - now)}
"""

RELEASE = """
if redis.call('HGET', KEYS[1], 'digest') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

log = logging.getLogger("api")


def claim_key(prefix: str) -> str:
    """The claim of the corpus at a prefix; an empty one is the default corpus's."""
    return f"{CLAIM_KEY}:{prefix}" if prefix else CLAIM_KEY


@dataclass
class CorpusClaim:
    """This replica's claim; `conflict` is the other digest while another corpus is being served."""

    client: redis.asyncio.Redis
    digest: str
    key: str = CLAIM_KEY
    conflict: str | None = None
    settled: bool = False

    async def keep(self) -> None:
        """Claim and renew until cancelled.  Redis being away leaves the last verdict standing."""
        renew = self.client.register_script(RENEW)
        while True:
            args: list[str | int | float] = [self.digest, CLAIM_SECONDS, SURE_SECONDS, int(self.settled)]
            try:
                held, unsure_seconds = await renew(keys=[self.key], args=args)
            except RedisError as error:
                log.debug("claim not renewed: %s", type(error).__name__)
            else:
                self._judge(held.decode(), sure=float(unsure_seconds) <= 0)
            await asyncio.sleep(RENEW_SECONDS if self.settled else RENEW_SECONDS / 4)

    async def release(self) -> None:
        """Let another corpus be claimed at once: nobody is to serve this one any more.  Redis being away is no harm."""
        try:
            await self.client.eval(RELEASE, 1, self.key, self.digest)
        except RedisError as error:
            log.debug("claim not released, it ends by itself: %s", type(error).__name__)

    def why_not_ready(self) -> str | None:
        """A sentence while this replica must not serve, else None."""
        if self.conflict:
            return (
                f"Another replica serves a corpus with digest {self.conflict[:12]}, this one has {self.digest[:12]}: "
                "stop the other replicas, or give this one their corpus."
            )
        return None if self.settled else "The corpus is not claimed in Redis yet."

    def _judge(self, held: str, *, sure: bool) -> None:
        conflict = None if held == self.digest else held
        if conflict and conflict != self.conflict:
            log.error("another replica serves another corpus (digest %s): not ready", held[:12])
        self.conflict = conflict
        self.settled = self.settled or (conflict is None and sure)
