"""One corpus a deployment: the order of premises is a contract, so two replicas must never serve different ones.

The first ready replica claims its corpus digest under an expiring key and keeps it alive; a newcomer with another
digest stays unready until the claim has expired.
"""

import asyncio
import logging
from dataclasses import dataclass

import redis.asyncio

from shared.redis_client import RedisError

CLAIM_KEY = "premises:corpus-digest"
CLAIM_SECONDS = 10
RENEW_SECONDS = 2.0

RENEW = """
local held = redis.call('GET', KEYS[1])
if not held or held == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
  return ARGV[1]
end
return held
"""

log = logging.getLogger("api")


@dataclass
class CorpusClaim:
    """This replica's claim; `conflict` is the other digest while another corpus is being served."""

    client: redis.asyncio.Redis
    digest: str
    conflict: str | None = None
    settled: bool = False

    async def keep(self) -> None:
        """Claim and renew until cancelled.  Redis being away leaves the last verdict standing."""
        renew = self.client.register_script(RENEW)
        while True:
            try:
                held = (await renew(keys=[CLAIM_KEY], args=[self.digest, CLAIM_SECONDS])).decode()
            except RedisError as error:
                log.debug("claim not renewed: %s", type(error).__name__)
            else:
                self._judge(held)
            await asyncio.sleep(RENEW_SECONDS)

    def why_not_ready(self) -> str | None:
        """A sentence while this replica must not serve, else None."""
        if self.conflict:
            return (
                f"Another replica serves a corpus with digest {self.conflict[:12]}, this one has {self.digest[:12]}: "
                "stop the other replicas, or give this one their corpus."
            )
        return None if self.settled else "The corpus is not claimed in Redis yet."

    def _judge(self, held: str) -> None:
        conflict = None if held == self.digest or self.settled else held
        if conflict and conflict != self.conflict:
            log.error("another replica serves another corpus (digest %s): not ready", held[:12])
        self.conflict = conflict
        self.settled = self.settled or conflict is None
