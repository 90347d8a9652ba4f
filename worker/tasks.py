"""The Celery side of the worker: one thin task around the job runner."""

from celery import Celery
from celery.exceptions import Reject

from shared.celery_app import send_job
from shared.messages import EMBED_TASK, EmbedJob
from shared.redis_client import RedisError
from worker.job_runner import JobContinues, JobReturned, JobRunner


def register_tasks(app: Celery, runner: JobRunner) -> None:
    """Register `premises.embed` on the app with the runner that does the work."""

    @app.task(name=EMBED_TASK)  # type: ignore[untyped-decorator] # celery ships no types
    def embed(**wire: object) -> None:
        try:
            runner.run(EmbedJob.from_wire(wire))
        except JobReturned as returned:
            raise Reject(str(returned), requeue=True) from None
        except JobContinues as continues:
            send_job(app, continues.rest, retry=True)  # before the old message is acknowledged
        except RedisError as error:  # away for longer than the client was patient: what is not written is not done
            raise Reject(type(error).__name__, requeue=True) from None
