"""What a worker says of itself."""

from dataclasses import replace

from shared.messages import Heartbeat
from shared.settings import Settings
from tests.embedding_fakes import FakeEncoder, FakeVectorStore
from worker.batching_queue import BatchingQueue
from worker.celery_node import CeleryNode
from worker.consumer import heartbeat_source
from worker.job_runner import JobRunner
from worker.throughput import Throughput


def heartbeat(encoder: FakeEncoder) -> Heartbeat:
    throughput = Throughput(encoder.tokens_per_second)
    queue = BatchingQueue(encoder, throughput, max_batch_tokens=100)
    runner = JobRunner(encoder, queue, FakeVectorStore(), 60, 60.0)
    node = CeleryNode(encoder.namespace)
    return heartbeat_source("host-1-abc", node, Settings(), encoder, throughput, runner)()


def test_a_heartbeat_tells_the_kernel_its_threads_and_its_speed() -> None:
    told = heartbeat(FakeEncoder(kernel="packed-onednn", threads=4, tokens_per_second=1234.0))
    assert (told.kernel, told.threads, told.tokens_per_second) == ("packed-onednn", 4, 1234.0)


def test_a_heartbeat_arrives_as_it_was_sent() -> None:
    told = heartbeat(FakeEncoder())
    assert Heartbeat.from_bytes(told.to_bytes()) == told


def test_the_heartbeat_of_an_older_worker_is_understood() -> None:
    told = heartbeat(FakeEncoder()).to_bytes().replace(b'"kernel":"fake","threads":1', b'"new":true')
    assert (Heartbeat.from_bytes(told).kernel, Heartbeat.from_bytes(told).threads) == ("", 0)


def test_a_worker_that_has_not_begun_to_consume_tells_which_queues_it_will() -> None:
    told = heartbeat(FakeEncoder(namespace="space"))
    assert (told.queues, told.takes_jobs) == (["corpus.space", "embed.space"], True)


def test_a_worker_takes_jobs_unless_its_queue_of_states_was_cancelled() -> None:
    told = heartbeat(FakeEncoder(namespace="space"))
    assert replace(told, queues=["embed.space"]).takes_jobs
    assert not replace(told, queues=["corpus.space"]).takes_jobs


def test_a_worker_of_an_earlier_version_takes_jobs() -> None:
    assert replace(heartbeat(FakeEncoder()), queues=None).takes_jobs


def test_before_its_first_job_a_worker_counts_as_idle_since_its_start() -> None:
    told = heartbeat(FakeEncoder())
    assert told.last_job_at == told.started_at > 0
