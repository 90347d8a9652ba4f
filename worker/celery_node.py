"""Celery's own worker inside this process: its name, the queues that it takes jobs from, and its run."""

import socket
import uuid
import warnings

from celery import Celery
from celery.exceptions import SecurityWarning

from shared import celery_app
from shared.messages import Priority, queue_name
from shared.settings import Settings
from worker.job_runner import JobRunner
from worker.tasks import register_tasks


class CeleryNode:
    """A consumer of the queues of one namespace, until a signal or the celery program ends it."""

    def __init__(self, namespace: str) -> None:
        self.name = f"premises-{uuid.uuid4().hex[:8]}@{socket.gethostname()}"
        """What the celery program and Flower call it."""
        self._queues = [queue_name(namespace, Priority.STATE), queue_name(namespace, Priority.CORPUS)]
        self._app: Celery | None = None

    def queues(self) -> list[str]:
        """The queues that jobs are taken from now: `celery … control cancel_consumer` takes one out."""
        return sorted(self._queues if self._app is None else self._app.amqp.queues.consume_from)

    def run(self, settings: Settings, runner: JobRunner) -> int:
        """Consume jobs; returns the exit code."""
        warnings.simplefilter("ignore", SecurityWarning)  # it is about pickle; this app accepts JSON alone
        app = celery_app.configure(settings)
        register_tasks(app, runner)
        worker = app.Worker(
            hostname=self.name,
            queues=self._queues,
            pool="threads",
            concurrency=settings.worker_concurrency,
            loglevel=settings.log_level,
            without_gossip=True,
            without_mingle=True,
            quiet=True,
        )
        self._app = app  # from here on it knows which queues it consumes
        worker.start()
        return int(worker.exitcode or 0)
