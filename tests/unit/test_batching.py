"""How large batches are, and what they are made of."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.embedding_cache import CachedVector
from shared.messages import FailedText, Priority
from tests.embedding_fakes import PATIENCE_SECONDS, FakeEncoder
from worker.batching import LARGEST_CPU_BATCH_TOKENS, capped_batch_tokens, default_batch_tokens
from worker.batching_queue import BatchingQueue
from worker.throughput import Throughput


@pytest.mark.parametrize(("device", "tokens"), [("cpu", 2048), ("mps", 8192), ("cuda:0", 65536)])
def test_the_size_follows_the_device(device: str, tokens: int) -> None:
    assert default_batch_tokens(device) == tokens
    assert capped_batch_tokens(None, device) == (tokens, None)


def test_a_size_for_a_gpu_is_capped_on_a_cpu_with_a_warning() -> None:
    tokens, warning = capped_batch_tokens(65536, "cpu")
    assert tokens == LARGEST_CPU_BATCH_TOKENS
    assert warning is not None
    assert "MAX_BATCH_TOKENS=65536" in warning


@given(st.integers(1, 1 << 30), st.sampled_from(["cpu", "mps", "cuda:0"]))
def test_what_an_operator_asks_for_holds_except_for_the_cap(requested: int, device: str) -> None:
    tokens, warning = capped_batch_tokens(requested, device)
    assert tokens == (min(requested, LARGEST_CPU_BATCH_TOKENS) if device == "cpu" else requested)
    assert (warning is None) == (tokens == requested)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    max_batch_tokens=st.integers(1, 200),
    memory_tokens=st.integers(60, 200),
)
def test_every_text_is_embedded_once_in_batches_within_the_limit(
    lengths: list[int], max_batch_tokens: int, memory_tokens: int
) -> None:
    encoder = FakeEncoder(memory_tokens=memory_tokens)
    throughput = Throughput(tokens_per_second=1e9)
    queue = BatchingQueue(encoder, throughput, max_batch_tokens=max_batch_tokens)
    texts = {str(number): encoder.tokenize(["x" * length])[0] for number, length in enumerate(lengths)}
    ticket = queue.submit(texts, Priority.BULK)
    thread = threading.Thread(target=queue.run)
    thread.start()
    results: dict[str, CachedVector | FailedText] = {}
    while not ticket.complete:
        results |= ticket.take_finished(10)
    queue.close()
    thread.join(PATIENCE_SECONDS)
    assert {key: result.tokens for key, result in results.items() if isinstance(result, CachedVector)} == {
        key: len(token_ids) for key, token_ids in texts.items()
    }
    assert all(len(batch) == 1 or max(batch) * len(batch) <= max_batch_tokens for batch in encoder.batches)
    fitting = [batch for batch in encoder.batches if max(batch) * len(batch) <= memory_tokens]
    assert sorted(length for batch in fitting for length in batch) == sorted(lengths)
