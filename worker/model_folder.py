"""Reads a sentence-transformers folder: which modules, which pooling, how long a text may be.

Raises `ModelError` with a sentence for whatever this worker would get wrong: another module, a prompt, a broken file.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from shared.errors import ModelError

Pooling = Literal["mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens"]

POOLINGS: tuple[Pooling, ...] = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens")
ARCHITECTURES = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")
POSITIONS_BEGIN_AFTER_PADDING = ("mpnet", "roberta", "xlm-roberta")
FINGERPRINTED_SUFFIXES = (".bin", ".json", ".model", ".safetensors", ".txt")
UNUSED_FOLDERS = ("onnx", "openvino")
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a folder says of its model."""

    path: Path
    transformer_path: Path
    architecture: str
    pooling: Pooling
    normalize: bool
    max_tokens: int | None
    """Limit by the folder's configuration and the position embeddings; the tokenizer may set a lower one."""
    lowercase: bool


def read_model_folder(path: Path) -> ModelFolder:
    """Check and describe a folder without loading its weights."""
    if not path.is_dir():
        raise ModelError(f"The model folder {path} does not exist.")
    modules = _modules(path)
    transformer = path / modules["Transformer"]
    config = _read_object(transformer / "config.json")
    sentence_config = _read_object(transformer / "sentence_bert_config.json", missing_is_empty=True)
    _refuse_prompt(path)
    return ModelFolder(
        path=path,
        transformer_path=transformer,
        architecture=_architecture(config, transformer),
        pooling=_pooling(path / modules["Pooling"]) if "Pooling" in modules else "mean",
        normalize="Normalize" in modules or "Pooling" not in modules,
        max_tokens=_max_tokens(config, sentence_config),
        lowercase=bool(sentence_config.get("do_lower_case", False)),
    )


def fingerprint(path: Path) -> str:
    """Sha256 over the names (relative) and bytes of weights, tokenizer and configuration."""
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if _is_part_of_model(file.relative_to(path))):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(READ_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _is_part_of_model(relative: Path) -> bool:
    return relative.suffix in FINGERPRINTED_SUFFIXES and relative.parts[0] not in UNUSED_FOLDERS


def _modules(path: Path) -> dict[str, str]:
    """Folder of each module by its kind; a bare transformer is pooled by the mean and normalised."""
    if not (path / "modules.json").exists():
        return {"Transformer": ""}
    listed = _read_json(path / "modules.json")
    try:
        modules = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in listed}
    except (TypeError, KeyError, AttributeError):
        raise ModelError(f"{path / 'modules.json'} is not a list of modules with type and path.") from None
    if list(modules) not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelError(
            f"{path} is made of the modules {', '.join(modules)}: this worker runs Transformer, Pooling and, "
            "optionally, Normalize, in this order."
        )
    return modules


def _architecture(config: dict[str, Any], folder: Path) -> str:
    model_type = config.get("model_type")
    if model_type not in ARCHITECTURES:
        raise ModelError(f"{folder} holds a model of type {model_type!r}: this worker runs {', '.join(ARCHITECTURES)}.")
    return cast("str", model_type)


def _pooling(folder: Path) -> Pooling:
    config = _read_object(folder / "config.json")
    if config.get("include_prompt", True) is False:
        raise ModelError(f"{folder} leaves a prompt out of its pooling: this worker embeds texts without prompts.")
    named = config.get("pooling_mode")
    flags = {
        "cls": "pooling_mode_cls_token",
        "mean": "pooling_mode_mean_tokens",
        "max": "pooling_mode_max_tokens",
        "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
        "weightedmean": "pooling_mode_weightedmean_tokens",
        "lasttoken": "pooling_mode_lasttoken",
    }
    chosen = [named] if isinstance(named, str) else named or [mode for mode, flag in flags.items() if config.get(flag)]
    for mode in POOLINGS:
        if chosen == [mode]:
            return mode
    raise ModelError(f"{folder} pools by {chosen!r}: this worker pools by exactly one of {', '.join(POOLINGS)}.")


def _refuse_prompt(path: Path) -> None:
    config = _read_object(path / "config_sentence_transformers.json", missing_is_empty=True)
    name = config.get("default_prompt_name")
    if name is not None and (config.get("prompts") or {}).get(name):
        raise ModelError(f"{path} puts the prompt {name!r} before every text: this worker embeds texts as they stand.")


def _max_tokens(config: dict[str, Any], sentence_config: dict[str, Any]) -> int | None:
    limits = [sentence_config.get("max_seq_length")]
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int):
        offset = config.get("pad_token_id", 1) + 1 if config["model_type"] in POSITIONS_BEGIN_AFTER_PADDING else 0
        limits.append(positions - offset)
    return min((limit for limit in limits if isinstance(limit, int)), default=None)


def _read_object(path: Path, *, missing_is_empty: bool = False) -> dict[str, Any]:
    if missing_is_empty and not path.exists():
        return {}
    content = _read_json(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path} does not hold a JSON object.")
    return content


def _read_json(path: Path) -> Any:  # noqa: ANN401 - JSON; the callers check what they use
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: this is not a whole sentence-transformers folder.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from None
