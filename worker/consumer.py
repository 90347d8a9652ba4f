"""Consumes jobs with a loaded encoder: wires queue, cache, heartbeat and Celery's own worker."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Protocol

from celery.signals import worker_shutting_down

from shared.embedding_cache import VectorCodec
from shared.messages import Heartbeat, Priority
from shared.process_memory import peak_memory_bytes, resident_memory_bytes
from shared.redis_client import hasty_redis, patient_redis, prompt_redis
from shared.settings import Settings
from worker.batch_journal import RedisBatchJournal
from worker.batching import capped_batch_tokens
from worker.batching_queue import BatchEncoder, BatchingQueue
from worker.broker_turns import BrokerTurns
from worker.celery_node import CeleryNode
from worker.gpu_memory import GpuMemory
from worker.heartbeat import HeartbeatThread
from worker.job_runner import JobRunner
from worker.throughput import Throughput
from worker.tokenized_texts import Tokenizer
from worker.vector_store import RedisVectorStore

log = logging.getLogger("worker")


class LoadedEncoder(BatchEncoder, Tokenizer, Protocol):
    """A model in memory, as the consumer uses it."""

    @property
    def namespace(self) -> str:
        """Name of the space that its vectors live in."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def normalized(self) -> bool:
        """Whether vectors are of unit length."""
        ...

    @property
    def device(self) -> str:
        """What it runs on."""
        ...

    @property
    def dtype(self) -> str:
        """What it computes in."""
        ...

    @property
    def kernel(self) -> str:
        """How it is computed."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads of the model; 0 on a GPU."""
        ...

    @property
    def tokens_per_second(self) -> float:
        """What it reached when it was measured at the start."""
        ...

    def gpu_memory(self) -> GpuMemory:
        """What it uses of a GPU's memory now."""
        ...


def consume(settings: Settings, encoder: LoadedEncoder) -> int:
    """Wire the parts, consume jobs until a signal ends it; returns the exit code."""
    max_batch_tokens, warning = capped_batch_tokens(settings.max_batch_tokens, encoder.device)
    if warning:
        log.warning(warning)
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    node = CeleryNode(encoder.namespace)
    throughput = Throughput(encoder.tokens_per_second)
    journal = RedisBatchJournal(
        hasty_redis(settings.redis_url), encoder.namespace, worker_id, batches_ahead=encoder.batches_ahead
    )
    queue = BatchingQueue(
        encoder,
        throughput,
        max_batch_tokens=max_batch_tokens,
        journal=journal,
        ageing_seconds=ageing_seconds(settings),
    )
    codec = VectorCodec(encoder.namespace, encoder.dimension, settings.cache_dtype)
    store = RedisVectorStore(patient_redis(settings.redis_url), codec, worker_id)
    runner = JobRunner(encoder, queue, store, settings.cache_ttl_seconds, settings.visibility_timeout_seconds)
    model_thread = threading.Thread(target=run_or_die, args=(queue.run,), name="model", daemon=True)
    heartbeat = HeartbeatThread(
        prompt_redis(settings.redis_url),
        heartbeat_source(worker_id, node, settings, encoder, throughput, runner),
        every_seconds=settings.heartbeat_seconds,
        ttl_seconds=settings.heartbeat_ttl_seconds,
    )
    model_thread.start()
    heartbeat.start()
    turns = BrokerTurns(prompt_redis(settings.redis_url), encoder.namespace, ageing_seconds(settings))
    turns.start()
    worker_shutting_down.connect(partial(end_at_signal, queue, settings.worker_stop_seconds), weak=False)
    exit_code = node.run(settings, runner)
    close_soon(queue, settings.worker_stop_seconds)  # Celery may have ended by itself, with jobs in its threads
    turns.stop()
    journal.rest()
    heartbeat.stop()
    return exit_code


def ageing_seconds(settings: Settings) -> dict[Priority, float]:
    """How long each class waits before it takes turns from the one before it."""
    return {Priority.BULK: settings.bulk_ageing_seconds, Priority.CORPUS: settings.corpus_ageing_seconds}


def run_or_die(body: Callable[[], None]) -> None:
    """A model thread that ends by an exception takes the process with it: a worker without one would hoard jobs."""
    try:
        body()
    except BaseException:
        log.critical("the model thread died; ending the worker", exc_info=True)
        os._exit(1)


def end_at_signal(queue: BatchingQueue, stop_seconds: float, *, sig: str, **_: object) -> None:
    """What a signal starts; the line is written outside its handler, which may have interrupted another line."""
    told = "told to stop by %s: the batch that runs is finished, the rest goes back to the queue"
    threading.Thread(target=log.info, args=(told, sig), name="told-to-stop").start()
    close_soon(queue, stop_seconds)


def close_soon(queue: BatchingQueue, stop_seconds: float) -> None:
    """Close the queue outside the signal handler, which may have interrupted a holder of the queue's lock.

    Where the process has not ended after `stop_seconds` (Redis is away, a batch takes too long) it is ended: what it
    holds is with the broker still, and goes to another worker after the visibility timeout.
    """
    threading.Thread(target=queue.close, name="close-queue", daemon=True).start()
    late = threading.Timer(stop_seconds, _end_at_once)
    late.daemon = True
    late.start()


def _end_at_once() -> None:
    log.critical("the worker did not end in time: it ends now; its jobs go to another worker")
    os._exit(1)


def heartbeat_source(
    worker_id: str,
    node: CeleryNode,
    settings: Settings,
    encoder: LoadedEncoder,
    throughput: Throughput,
    runner: JobRunner,
) -> Callable[[], Heartbeat]:
    """A function that describes this worker as it is now."""
    started_at = time.time()
    return lambda: Heartbeat(
        worker_id=worker_id,
        model=settings.model_id,
        model_revision=settings.model_revision,
        namespace=encoder.namespace,
        dimension=encoder.dimension,
        max_tokens=encoder.max_tokens,
        device=encoder.device,
        dtype=encoder.dtype,
        cache_dtype=settings.cache_dtype,
        tokens_per_byte=runner.tokens_per_byte,
        tokens_per_second=throughput.tokens_per_second,
        held_jobs=runner.held_jobs(),
        started_at=started_at,
        texts_embedded=throughput.texts_embedded,
        dropped_jobs=runner.dropped_jobs,
        failed_texts=runner.failed_texts,
        waiting_texts=sum(runner.queue.depth().values()),
        peak_memory_bytes=peak_memory_bytes(),
        pooling=settings.pooling,
        normalized=encoder.normalized,
        kernel=encoder.kernel,
        threads=encoder.threads,
        node_name=node.name,
        queues=node.queues(),
        last_job_at=runner.last_job_at or started_at,
        memory_bytes=resident_memory_bytes(),
        gpu_memory_bytes=encoder.gpu_memory().held_bytes,
        gpu_memory_limit_bytes=encoder.gpu_memory().device_bytes,
        counts=runner.queue.counts.snapshot(),
    )
