"""Reads a sentence-transformers folder: which modules, which pooling, how long a text may be.

Raises `ModelError` with a sentence for whatever this worker would get wrong: another module, a prompt, a broken file.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from shared.errors import ModelError
from shared.model_catalogue import POOLINGS, Pooling

ARCHITECTURES = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")
POSITIONS_BEGIN_AFTER_PADDING = ("mpnet", "roberta", "xlm-roberta")
FINGERPRINTED_SUFFIXES = (".bin", ".json", ".model", ".safetensors", ".txt")
UNUSED_FOLDERS = ("onnx", "openvino")
READ_BYTES = 1 << 20
TRANSFORMER_CONFIG_NAMES = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
"""sentence-transformers reads the first `sentence_<name>_config.json` that says anything."""

log = logging.getLogger("worker")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a folder says of its model."""

    path: Path
    transformer_path: Path
    architecture: str
    pooling: Pooling
    normalize: bool
    max_tokens: int | None
    """Limit that the folder sets; without it the tokenizer's holds."""
    max_positions: int | None
    """Limit by the position embeddings."""
    lowercase: bool


def read_model_folder(path: Path, *, pooling: Pooling | Literal[""] = "") -> ModelFolder:
    """Check and describe a folder without loading its weights; `pooling` replaces what the folder says of it."""
    if not path.is_dir():
        raise ModelError(f"The model folder {path} does not exist.")
    modules = _modules(path)
    transformer = path / modules["Transformer"]
    config = _read_object(transformer / "config.json")
    sentence_config = _sentence_config(transformer)
    _refuse_prompt(path)
    _refuse_missing_tokenizer(transformer)
    return ModelFolder(
        path=path,
        transformer_path=transformer,
        architecture=_architecture(config, transformer),
        pooling=pooling or (_pooling(path / modules["Pooling"]) if "Pooling" in modules else "mean"),
        normalize="Normalize" in modules,
        max_tokens=_max_tokens(sentence_config, transformer),
        max_positions=_max_positions(config),
        lowercase=bool(sentence_config.get("do_lower_case", False)),
    )


def fingerprint(path: Path) -> str:
    """Sha256 over the names (relative) and bytes of weights, tokenizer and configuration."""
    digest = hashlib.sha256()
    files = (file for file in path.rglob("*") if _is_part_of_model(file.relative_to(path)) and file.is_file())
    for file in sorted(files):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(READ_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _is_part_of_model(relative: Path) -> bool:
    return relative.suffix in FINGERPRINTED_SUFFIXES and relative.parts[0] not in UNUSED_FOLDERS


def _modules(path: Path) -> dict[str, str]:
    """Folder of each module by its kind; a bare transformer is pooled by the mean, as sentence-transformers does."""
    if not (path / "modules.json").exists():
        log.warning("%s has no modules.json: its tokens are pooled by the mean and not normalised", path)
        return {"Transformer": ""}
    listed = _read_json(path / "modules.json")
    try:
        modules = [(_kind(module["type"]), _inside(module["path"])) for module in listed]
    except (TypeError, KeyError, AttributeError, ValueError):
        raise ModelError(f"{path / 'modules.json'} is not a list of modules with type and path.") from None
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelError(
            f"{path} is made of the modules {', '.join(kinds)}: this worker runs Transformer, Pooling and, "
            "optionally, Normalize, in this order."
        )
    return dict(modules)


def _kind(module_type: str) -> str:
    """`sentence_transformers.models.Pooling`, and how newer versions spell it; others keep their full name."""
    return module_type.rsplit(".", 1)[-1] if module_type.startswith("sentence_transformers.") else module_type


def _inside(module_path: str) -> str:
    """The fingerprint covers the folder alone, so no module may lie elsewhere."""
    parts = PurePosixPath(module_path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(module_path)
    return module_path


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
    name, prompts = config.get("default_prompt_name"), config.get("prompts") or {}
    if not isinstance(prompts, dict) or not isinstance(name, str | None):
        raise ModelError(f"{path / 'config_sentence_transformers.json'} does not map names to prompts.")
    if name is not None and prompts.get(name):
        raise ModelError(f"{path} puts the prompt {name!r} before every text: this worker embeds texts as they stand.")


def _refuse_missing_tokenizer(folder: Path) -> None:
    """Transformers makes up a tokenizer that knows no word where the files are missing."""
    names = {file.name for file in folder.iterdir()}
    if not (names & {"tokenizer.json", "vocab.txt"} or names >= {"vocab.json", "merges.txt"} or _has_model(names)):
        raise ModelError(f"{folder} holds no tokenizer (tokenizer.json, or its vocabulary): fetch the folder again.")


def _has_model(names: set[str]) -> bool:
    return any(name.endswith(".model") for name in names)


def _sentence_config(folder: Path) -> dict[str, Any]:
    for name in TRANSFORMER_CONFIG_NAMES:
        config = _read_object(folder / f"sentence_{name}_config.json", missing_is_empty=True)
        if config:
            return config
    return {}


def _max_tokens(sentence_config: dict[str, Any], folder: Path) -> int | None:
    limit = sentence_config.get("max_seq_length")
    if limit is None or (type(limit) is int and limit > 0):
        return limit
    raise ModelError(f"{folder} sets max_seq_length to {limit!r}: it must be a whole number above 0, or absent.")


def _max_positions(config: dict[str, Any]) -> int | None:
    positions, padding_id = config.get("max_position_embeddings"), config.get("pad_token_id")
    if not isinstance(positions, int):
        return None
    if config["model_type"] in POSITIONS_BEGIN_AFTER_PADDING:
        return positions - (padding_id if isinstance(padding_id, int) else 1) - 1
    return positions


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
