"""What makes the worker refuse a model folder, and with which sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import ModelError
from tests.model_folders import write_json, write_model_folder, write_pooling
from worker.encoder import Encoder
from worker.model_folder import read_model_folder


def load(folder: Path, device: str = "cpu") -> Encoder:
    return Encoder.load(folder, dtype="float32", device=device, cache_dtype="float32", kernel="packed", threads=1)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_folder(tmp_path_factory.mktemp("models") / "roberta", "roberta")


@pytest.fixture
def folder(roberta: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(roberta, tmp_path / "model"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_refused(roberta: Path) -> None:
    with pytest.raises(ModelError, match="DEVICE=cuda"):
        load(roberta, "cuda")


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


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json"])
def test_a_configuration_that_is_not_there_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        read_model_folder(folder)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "sentence_bert_config.json"])
def test_a_configuration_that_is_no_object_is_named(name: str, folder: Path) -> None:
    (folder / name).write_text("[]")
    with pytest.raises(ModelError, match=name):
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


@pytest.mark.parametrize("mode", [["mean", "cls"], "weightedmean", "attention", []])
def test_other_poolings_are_refused(mode: object, roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "pooling"))
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": mode})
    with pytest.raises(ModelError, match="pools by"):
        read_model_folder(folder)


def test_two_poolings_by_flags_are_refused(folder: Path) -> None:
    write_pooling(folder, "mean", "cls", old_style=True)
    with pytest.raises(ModelError, match="pools by"):
        read_model_folder(folder)


def test_a_pooling_that_leaves_the_prompt_out_is_refused(folder: Path) -> None:
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean", "include_prompt": False})
    with pytest.raises(ModelError, match="prompt"):
        read_model_folder(folder)


def test_another_architecture_is_refused(roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(roberta, tmp_path / "t5"))
    write_json(folder / "config.json", {"model_type": "t5"})
    with pytest.raises(ModelError, match="t5"):
        read_model_folder(folder)


def test_weights_of_another_shape_are_refused_rather_than_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"] = torch.zeros(8, 8)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="shape"):
        load(folder)


def test_weights_that_were_cut_off_are_refused(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:5000])
    with pytest.raises(ModelError, match="fetch the folder again"):
        load(folder)


def test_a_pickle_that_holds_more_than_tensors_is_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": Path(tmp_path)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="save the model as safetensors"):
        load(folder)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        read_model_folder(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:100].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", json.loads((folder / "config.json").read_text()) | {"vocab_size": 100})
    with pytest.raises(ModelError, match="below 100"):
        load(folder)


@pytest.mark.parametrize("limit", [0, -1, "48", True, 12.5])
def test_a_length_that_is_no_positive_number_is_refused(limit: object, folder: Path) -> None:
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": limit})
    with pytest.raises(ModelError, match="max_seq_length"):
        read_model_folder(folder)


def test_a_length_without_room_for_a_word_is_refused(folder: Path) -> None:
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 2})
    with pytest.raises(ModelError, match="special"):
        load(folder)


@pytest.mark.parametrize(
    "modules",
    [
        {},
        [{"type": "sentence_transformers.models.Transformer", "path": 1}],
        [{"type": "own_code.Transformer", "path": ""}, {"type": "own_code.Pooling", "path": "1_Pooling"}],
        [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
        ],
        [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
        ],
    ],
)
def test_a_strange_list_of_modules_is_refused(modules: object, folder: Path) -> None:
    write_json(folder / "modules.json", modules)
    with pytest.raises(ModelError, match="modules"):
        read_model_folder(folder)


def test_prompts_that_are_no_mapping_are_refused(folder: Path) -> None:
    write_json(folder / "config_sentence_transformers.json", {"prompts": ["q: "], "default_prompt_name": "query"})
    with pytest.raises(ModelError, match="prompts"):
        read_model_folder(folder)


def test_a_module_outside_of_the_folder_is_refused(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    shutil.copytree(folder, folder.parent / "elsewhere")
    write_json(folder / "modules.json", [modules[0] | {"path": "../elsewhere"}, *modules[1:]])
    with pytest.raises(ModelError, match="modules"):
        read_model_folder(folder)
