"""The Celery side of the worker: one thin task around the job runner."""

from celery import Celery
from celery.exceptions import Reject

from shared.messages import EMBED_TASK, EmbedJob
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
            publish_rest(app, continues.rest)


def publish_rest(app: Celery, rest: EmbedJob) -> None:
    """Put what is left of a job back on its queue, under the same id, before the old message is acknowledged."""
    app.send_task(
        EMBED_TASK,
        kwargs=rest.to_wire(),
        task_id=rest.job_id,
        queue=rest.queue,
        priority=int(rest.priority),
        kwargsrepr=f"{{texts: {len(rest.texts)}}}",
        retry=True,
    )
