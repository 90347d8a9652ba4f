"""Loads a model folder's transformer and tokenizer, and refuses what would embed wrongly without a word."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, normalizers

from shared.errors import ModelError
from worker.model_folder import ModelFolder

DEFAULT_MAX_TOKENS = 512
SMALLEST_UNLIMITED = 1_000_000
"""Tokenizers without a limit of their own name an astronomic one."""
LONGEST_REASON_CHARACTERS = 200


def load_model(folder: ModelFolder, dtype: torch.dtype, device: str) -> Any:  # noqa: ANN401 - transformers ships no types
    """The transformer on its device; raises `ModelError`."""
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
            f"The weights in {folder.transformer_path} cannot be loaded onto {device} ({reason_of(error)}): "
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


def refuse_unknown_ids(folder: ModelFolder, tokenizer: Tokenizer, vocabulary_size: int) -> None:
    """An id without an embedding fails its batch on a CPU; on a GPU it ends all use of the device."""
    highest = max(tokenizer.get_vocab().values())
    if highest >= vocabulary_size:
        raise ModelError(
            f"The tokenizer in {folder.transformer_path} gives ids up to {highest}, but the model knows those below "
            f"{vocabulary_size} only: the two are not of one model."
        )


def vocabulary_size_of(model: Any) -> int:  # noqa: ANN401 - transformers ships no types
    """Token ids are below it."""
    return int(model.get_input_embeddings().num_embeddings)


def choose_max_tokens(folder: ModelFolder, tokenizer: Tokenizer, tokenizer_limit: int | None) -> int:
    """As sentence-transformers decides: what the folder sets replaces the tokenizer's limit."""
    limits = [folder.max_positions, folder.max_tokens or tokenizer_limit]
    max_tokens = min((limit for limit in limits if limit is not None), default=DEFAULT_MAX_TOKENS)
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_tokens <= special:
        raise ModelError(
            f"{folder.path} allows {max_tokens} tokens a text, of which {special} are special ones: "
            "set max_seq_length in its sentence_bert_config.json to the model's length."
        )
    return max_tokens


def load_tokenizer(folder: ModelFolder) -> tuple[Tokenizer, int, int | None]:
    """The fast tokenizer itself, the padding id, and its limit in tokens if it has one."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder.transformer_path, local_files_only=True)
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:
        raise ModelError(
            f"The tokenizer in {folder.transformer_path} cannot be loaded ({reason_of(error)}): fetch the folder again."
        ) from error
    if folder.lowercase and not _lowercases(backend.normalizer):
        parts = [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer else [])]
        backend.normalizer = normalizers.Sequence(parts)
    limit = tokenizer.model_max_length if tokenizer.model_max_length < SMALLEST_UNLIMITED else None
    return backend, int(tokenizer.pad_token_id or 0), limit


def _lowercases(normalizer: object) -> bool:
    if isinstance(normalizer, normalizers.Sequence):
        return any(isinstance(normalizer[part], normalizers.Lowercase) for part in range(len(normalizer)))
    return isinstance(normalizer, normalizers.Lowercase)


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first_line[:LONGEST_REASON_CHARACTERS]}"
