"""What programs outside watch in order to start and stop workers: one Redis hash for each, `{worker id}:deployment`.

It is written with every heartbeat and has its lifetime, so that it ends with its worker.  Nothing in this server reads
it: one that a full Redis has evicted comes back with the next heartbeat.
"""

from redis.client import Pipeline

from shared.messages import Heartbeat

WORKER_TYPE = "embedding"


def deployment_key(worker_id: str) -> str:
    """Name of a worker's hash."""
    return f"{worker_id}:deployment"


def describe_deployment(pipeline: Pipeline, heartbeat: Heartbeat, ttl_seconds: float) -> None:
    """Have a pipeline write a worker's hash, good for `ttl_seconds`.  Times are whole epoch seconds."""
    key = deployment_key(heartbeat.worker_id)
    pipeline.hset(
        key,
        mapping={
            "model": heartbeat.model,
            "type": WORKER_TYPE,
            "address": heartbeat.node_name,
            "start_time": int(heartbeat.started_at),
            "last_request": int(heartbeat.last_job_at),
            "generations": heartbeat.texts_embedded,
        },
    )
    pipeline.pexpire(key, int(ttl_seconds * 1000))
