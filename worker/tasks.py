"""The Celery side of the worker: one thin task around the job runner."""

import threading

from celery import Celery
from celery.exceptions import Reject
from celery.worker.request import Request
from kombu.exceptions import OperationalError

from shared.celery_app import send_job
from shared.messages import EMBED_TASK, EmbedJob
from shared.redis_client import RedisError
from worker.job_runner import JobContinues, JobReturned, JobRunner

PAUSE_SECONDS = 1.0
"""A Redis that refuses at once would otherwise be asked without end."""
PAUSE = threading.Event()


class CountedRequest(Request):  # type: ignore[misc] # celery ships no types
    """A job that a worker holds, as the celery program and Flower see it: with counts in place of its texts."""

    def info(self, safe: bool = True) -> dict[str, object]:  # noqa: FBT001, FBT002 - celery's signature
        """The safe form, also where nobody asked for it: Celery would show the arguments themselves."""
        told: dict[str, object] = super().info(safe=True)
        return told


def register_tasks(app: Celery, runner: JobRunner) -> None:
    """Register `premises.embed` on the app with the runner that does the work."""

    @app.task(name=EMBED_TASK, Request=CountedRequest)  # type: ignore[untyped-decorator] # celery ships no types
    def embed(**wire: object) -> None:
        try:
            runner.run(EmbedJob.from_wire(wire))
        except JobReturned as returned:
            raise Reject(str(returned), requeue=True) from None
        except JobContinues as continues:
            give_rest_back(app, continues.rest)
        except RedisError as error:  # away for longer than the client was patient: what is not written is not done
            PAUSE.wait(PAUSE_SECONDS)
            raise Reject(type(error).__name__, requeue=True) from None


def give_rest_back(app: Celery, rest: EmbedJob) -> None:
    """Publish what is left of a job before its old message is acknowledged; where that fails, that one goes back."""
    try:
        send_job(app, rest, retry=True)
    except (OperationalError, RedisError, OSError) as error:
        raise Reject(type(error).__name__, requeue=True) from None
