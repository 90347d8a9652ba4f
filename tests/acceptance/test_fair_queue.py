"""No class of work starves, however much of the one before it there is; long work is not done twice."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.conftest import Deploy
from tests.acceptance.load import Background, Steady, body_of, post, texts
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.processes import Process, prepare_command, running

SLOTS = 16
CLIENTS = 3 * SLOTS
"""More than the worker holds at a time: the broker's list of states is never empty."""


def endless_states(url: str, background: Background) -> Steady:
    """Clients that always have a new state waiting, and a worker that is always behind."""
    long = "s" * 380
    return background.steady(CLIENTS, lambda client, number: (url, body_of(f"⊢ {client} {number} {long}", [])))


def test_an_endless_stream_of_states_does_not_starve_an_upload(deploy: Deploy, background: Background) -> None:
    settings = {
        "FAKE_WORKER_TOKENS_PER_SECOND": "15000",
        "WORKER_CONCURRENCY": str(SLOTS),
        "BULK_AGEING_SECONDS": "1",
        "MAX_QUEUED_STATE_SECONDS": "60",
    }
    with deploy(**settings) as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        states = endless_states(replica.url, background)
        wait_until(lambda: len(states.heard) > 10)
        upload = post(replica.url, body_of("⊢ upload", texts("upload", 120)))
        assert (upload.status, upload.wrong) == (200, False), upload.answer
        assert states.in_flight > SLOTS, "the worker was never behind"
        heard = states.stop()
        assert not any(each.wrong for each in heard)
        wait_until(deployment.is_idle)


def test_endless_uploads_do_not_starve_the_building_of_a_corpus(
    deploy: Deploy, background: Background, tmp_path: Path
) -> None:
    settings = {
        "FAKE_WORKER_TOKENS_PER_SECOND": "60000",
        "BULK_AGEING_SECONDS": "1",
        "CORPUS_AGEING_SECONDS": "2",
    }
    with deploy(**settings) as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        uploads = background.steady(
            12, lambda client, number: (replica.url, body_of("⊢ same", texts(f"{client} {number}", 200)))
        )
        wait_until(lambda: len(uploads.heard) > 2)
        fresh = deployment.environment | {"DATA_DIR": str(tmp_path / "fresh")}
        with running(prepare_command(), tmp_path / "prepare.log", fresh) as prepare:
            wait_until(ended(prepare))
            assert prepare.popen.returncode == 0, prepare.output()
        heard = uploads.stop()
        assert uploads.in_flight == 0
        assert not any(each.wrong for each in heard)


def ended(process: Process) -> Callable[[], bool]:
    return lambda: process.popen.poll() is not None


def test_an_upload_that_takes_longer_than_the_visibility_timeout_is_computed_once(deploy: Deploy) -> None:
    settings = {"VISIBILITY_TIMEOUT_SECONDS": "10", "FAKE_WORKER_TOKENS_PER_SECOND": "2000"}
    with deploy(**settings) as deployment:
        deployment.start_worker()
        deployment.start_worker()
        replica = deployment.start_replica()
        upload = post(replica.url, body_of("⊢ upload", texts("upload", 2048)))  # some twenty seconds for two
        assert (upload.status, upload.wrong) == (200, False), upload.answer
        assert upload.seconds > 10
        counts = Counter(deployment.embedded_texts())
        assert len(counts) == 2049
        assert set(counts.values()) == {1}
        wait_until(deployment.is_idle)


def test_a_state_that_is_also_somebodys_new_premise_does_not_wait_with_the_upload(
    deploy: Deploy, background: Background
) -> None:
    with deploy(FAKE_WORKER_TOKENS_PER_SECOND="2000") as deployment:
        deployment.start_worker()
        replica = deployment.start_replica()
        premises = texts("upload", 600)  # 24,000 tokens: some twelve seconds
        upload = background.post(replica.url, body_of("⊢ upload", premises))
        wait_until(lambda: len(deployment.embedded_texts()) > 5)
        state = post(replica.url, body_of(premises[-1], []))
        assert (state.status, state.wrong, upload.done()) == (200, False, False)
        heard = upload.result(PATIENCE_SECONDS)
        assert (heard.status, heard.wrong) == (200, False), heard.answer
        counts = Counter(deployment.embedded_texts())
        assert set(counts.values()) == {1}, "a text was embedded twice"
        wait_until(deployment.is_idle)
