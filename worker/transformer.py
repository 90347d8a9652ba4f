"""Loads a folder's transformer with transformers, refusing what would compute without a word of warning."""

from pathlib import Path
from typing import Any

import torch
import transformers

from shared.errors import ModelError
from worker.model_folder import ModelFolder

LONGEST_REASON_CHARACTERS = 200


def load_transformer(folder: ModelFolder, dtype: torch.dtype, device: str) -> Any:  # noqa: ANN401 - transformers ships no types
    """transformers' model in memory, its weights in `dtype` on `device`; raises `ModelError` where it is not whole."""
    pooler = {} if folder.architecture == "distilbert" else {"add_pooling_layer": False}
    attention = "eager" if folder.architecture == "mpnet" else "sdpa"
    try:
        model, report = transformers.AutoModel.from_pretrained(
            folder.transformer_path,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **pooler,
        )
        model = model.to(device).eval()
    except Exception as error:
        raise ModelError(
            f"The weights in {folder.transformer_path} cannot be loaded onto {device} ({one_line(error)}): "
            "fetch the folder again, or save the model as safetensors."
        ) from error
    _refuse_random_weights(folder.transformer_path, report)
    return model


def _refuse_random_weights(path: Path, report: dict[str, Any]) -> None:
    """Transformers draws random numbers for weights that are absent or of another shape."""
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(f"{path} lacks {len(absent)} weights ({absent[0]}, ...): random numbers would stand in.")
    misshapen = sorted(name for name, *_ in report["mismatched_keys"])
    if misshapen:
        raise ModelError(f"{path}: {len(misshapen)} weights ({misshapen[0]}, ...) have not the shape of config.json.")


def one_line(error: BaseException) -> str:
    """An error as a part of a sentence."""
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first_line[:LONGEST_REASON_CHARACTERS]}"
