"""The one Celery app of the deployment: `celery -A shared.celery_app …` is the form for the CLI and for flower.

Importing this module does nothing; the settings are read when Celery first needs its configuration.
"""

import time
from dataclasses import replace
from typing import Any

from celery import Celery

from shared.messages import EMBED_TASK, EmbedJob
from shared.redis_transport import use_this_transport
from shared.settings import Settings, load_settings

PRIORITY_STEPS = [0, 3, 6, 9]


def celery_configuration(settings: Settings) -> dict[str, Any]:
    """Celery's configuration; why each option is what it is stands in docs/architecture.md."""
    use_this_transport()
    return {
        "broker_url": settings.redis_url,
        "broker_transport_options": broker_transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_publish_retry": False,
        "task_default_queue": "unrouted",
        "worker_pool": "threads",
        "worker_concurrency": settings.worker_concurrency,
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_enable_remote_control": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": 0.0,
    }


def broker_transport_options(settings: Settings) -> dict[str, Any]:
    """Options of kombu's Redis transport: quick return of a lost worker's jobs, no endless socket waits."""
    return {
        "visibility_timeout": settings.visibility_timeout_seconds,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
        "priority_steps": PRIORITY_STEPS,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


app = Celery("lean-premise-server")
app.add_defaults(lambda: celery_configuration(load_settings()))


def configure(settings: Settings) -> Celery:
    """Give the app the settings of a process that has read (or was handed) its own."""
    app.conf.update(celery_configuration(settings))
    return app


def send_job(app: Celery, job: EmbedJob, **options: object) -> None:
    """Put a job on its queue under its own id; `options` are those of `send_task`."""
    app.send_task(
        EMBED_TASK,
        kwargs=replace(job, enqueued_at=time.time()).to_wire(),
        task_id=job.job_id,
        queue=job.queue,
        priority=int(job.priority),
        ignore_result=True,
        headers={"request_id": job.request_id},
        argsrepr="()",
        kwargsrepr=f"{{texts: {len(job.texts)}}}",  # counts, never texts: flower and events show this
        **options,
    )
