"""Puts jobs on the broker: the only file of the API that knows Celery."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from celery import Celery
from kombu.connection import ConnectionPool
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool

from shared import celery_app
from shared.errors import NotReadyError
from shared.messages import EmbedJob
from shared.redis_client import RedisError
from shared.settings import Settings

PUBLISHING_THREADS = 4


class JobPublisher:
    """Publishes from a small pool of threads, because `apply_async` blocks."""

    def __init__(self, settings: Settings) -> None:
        self._app: Celery = celery_app.configure(settings)
        self._connections = ConnectionPool(self._app.connection_for_write(), limit=PUBLISHING_THREADS)
        self._producers = ProducerPool(self._connections, limit=PUBLISHING_THREADS)
        self._threads = ThreadPoolExecutor(PUBLISHING_THREADS, thread_name_prefix="publish")
        self.published_jobs = 0

    async def publish(self, jobs: Sequence[EmbedJob]) -> None:
        """Enqueue the jobs in order; `NotReadyError` when Redis does not take them within seconds."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._send, jobs)
        self.published_jobs += len(jobs)

    def close(self) -> None:
        """End the threads and the broker's connections."""
        self._threads.shutdown()
        self._producers.force_close_all()
        self._connections.force_close_all()

    def _send(self, jobs: Sequence[EmbedJob]) -> None:
        try:
            with self._producers.acquire(block=True, timeout=5) as producer:
                for job in jobs:
                    celery_app.send_job(self._app, job, producer=producer)
        except (OperationalError, OSError, RedisError) as error:
            raise NotReadyError("The queue cannot be reached: try again in a few seconds.") from error
