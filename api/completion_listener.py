"""The replica's ear: one subscription on which workers say which jobs are done, and a sweep for what it missed."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import redis.asyncio

from api.awaited_job import AwaitedJob
from api.embedding_client import EmbeddingClient
from shared.celery_app import PRIORITY_STEPS
from shared.errors import PremiseServerError
from shared.messages import JobDone
from shared.redis_client import RedisError, priority_list

PAUSE_AFTER_LOSS_SECONDS = 0.5
SWEEP_SECONDS = 1.0
LOST_AFTER_SECONDS = 6.0
MISSING_SECONDS = 5.0

QUEUED_JOBS = """
local ids = {}
for _, list in ipairs(KEYS) do
  for _, message in ipairs(redis.call('LRANGE', list, 0, -1)) do
    ids[#ids + 1] = string.match(string.sub(message, -1024), '"correlation_id": ?"([^"]+)"')
  end
end
return ids
"""
"""Ids of the jobs on the broker's lists: kombu ends each message with its properties."""

log = logging.getLogger(__name__)


@dataclass
class CompletionListener:
    """Resolves awaited jobs; both coroutines run until cancelled."""

    client: redis.asyncio.Redis
    embeddings: EmbeddingClient
    lost_after_seconds: float = LOST_AFTER_SECONDS
    """Younger jobs may have been taken by a worker that has not reported since."""
    missing_seconds: float = MISSING_SECONDS
    """How long a job has to be missing before it is enqueued again."""
    subscribed: bool = False
    reenqueued_jobs: int = 0

    async def listen(self) -> None:
        """Hear completions for ever: after a lost connection subscribe anew and re-check every waiter."""
        while True:
            try:
                await self._listen_once()
            except (RedisError, PremiseServerError, OSError) as error:
                log.warning("lost the subscription to finished jobs (%s); subscribing again", type(error).__name__)
            self.subscribed = False
            await asyncio.sleep(PAUSE_AFTER_LOSS_SECONDS)

    async def sweep(self) -> None:
        """Once a second look for results whose message was missed and for jobs that the broker lost."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep_once()
            except (RedisError, PremiseServerError) as error:
                log.debug("sweep put off: %s", error)

    async def sweep_once(self) -> None:
        """Re-check jobs older than a second; publish those again that are nowhere; give back the leases still owed."""
        await self.embeddings.admission.settle()
        now = time.monotonic()
        suspects = []
        for awaited in list(self.embeddings.awaited.values()):
            age = now - awaited.published_at
            if age >= SWEEP_SECONDS and awaited.outstanding():
                await self.embeddings.recheck(awaited)
                if age >= self.lost_after_seconds and awaited.outstanding():
                    suspects.append(awaited)
        if suspects:
            await self._recover(suspects)

    async def _listen_once(self) -> None:
        async with self.client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(self.embeddings.reply_channel)
            self.subscribed = True
            for awaited in list(self.embeddings.awaited.values()):
                await self.embeddings.recheck(awaited)
            async for message in subscription.listen():
                if (done := _parse(message["data"])) is not None:
                    await self.embeddings.on_done(done)

    async def _recover(self, suspects: Sequence[AwaitedJob]) -> None:
        """Publish jobs again that have been on no queue and with no live worker for some time.

        A job that one worker gives to another is with neither, as far as their heartbeats tell, until both have beaten.
        """
        queued = await self._queued_jobs({awaited.job.queue for awaited in suspects})
        now = time.monotonic()
        for awaited in suspects:
            job_id = awaited.job.job_id
            if job_id in queued or self.embeddings.directory.holds(job_id):
                awaited.missing_since = None
            elif awaited.missing_since is None:
                awaited.missing_since = now
            elif now - awaited.missing_since >= self.missing_seconds:
                awaited.missing_since = None
                self.reenqueued_jobs += 1
                log.warning(
                    "job %s is on no queue and with no live worker: enqueued again",
                    job_id,
                    extra={"job_id": job_id, "request_id": awaited.job.request_id},
                )
                await self.embeddings.publish_again(awaited)

    async def _queued_jobs(self, queues: Iterable[str]) -> set[str]:
        lists = [priority_list(queue, step) for queue in queues for step in PRIORITY_STEPS]
        return {job_id.decode() for job_id in await self.client.eval(QUEUED_JOBS, len(lists), *lists)}


def _parse(data: bytes) -> JobDone | None:
    """A completion; None for what is none, which is logged: whoever can publish here must not end the subscription."""
    try:
        return JobDone.from_bytes(data)
    except (ValueError, TypeError, KeyError) as error:
        log.warning("a message of %d bytes is no completion (%s): ignored", len(data), type(error).__name__)
        return None
