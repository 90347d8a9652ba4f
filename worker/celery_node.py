"""Celery's own worker inside this process: its name, the queues that it takes jobs from, and its run."""

import socket
import uuid
import warnings

from celery import Celery
from celery.apps.worker import Worker, install_worker_int_handler, install_worker_term_handler
from celery.apps.worker import install_worker_term_hard_handler as install_hard_handler
from celery.exceptions import SecurityWarning

from shared import celery_app
from shared.messages import Priority, queue_name
from shared.settings import Settings
from worker.job_runner import JobRunner
from worker.tasks import register_tasks


class SilentWorker(Worker):  # type: ignore[misc]  # Celery has no types
    """Celery's worker, which does not write past the log that a signal stops it: the log says so itself."""

    def install_platform_tweaks(self, worker: Worker) -> None:
        """What Celery does at signals, in silence; a second Ctrl-C still ends it without waiting for jobs."""
        super().install_platform_tweaks(worker)
        install_worker_term_handler(worker, verbose=False)
        install_worker_int_handler(worker, verbose=False, callback=_end_at_the_next_interrupt)


def _end_at_the_next_interrupt(worker: Worker) -> None:
    install_hard_handler(worker, sig="SIGINT", verbose=False)


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
        worker = SilentWorker(
            app,
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
