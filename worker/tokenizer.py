"""Loads a folder's tokenizer as the fast tokenizer itself, so that padding and truncation are ours."""

import transformers
from tokenizers import Encoding, Tokenizer, normalizers

from shared.errors import ModelError
from worker.model_folder import ModelFolder
from worker.transformer import one_line

DEFAULT_MAX_TOKENS = 512
SMALLEST_UNLIMITED = 1_000_000
"""Tokenizers without a limit of their own name an astronomic one."""


def load_tokenizer(folder: ModelFolder) -> tuple[Tokenizer, int, int | None]:
    """The fast tokenizer itself, the padding id, and its limit in tokens if it has one."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder.transformer_path, local_files_only=True)
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:
        raise ModelError(
            f"The tokenizer in {folder.transformer_path} cannot be loaded ({one_line(error)}): fetch the folder again."
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


def longest_text_tokens(folder: ModelFolder, tokenizer: Tokenizer, tokenizer_limit: int | None) -> int:
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


def full_length(encoding: Encoding, special_tokens: int) -> int:
    """Tokens of a text before truncation; each part that was cut off carries special tokens of its own."""
    return len(encoding.ids) + sum(len(part.ids) - special_tokens for part in encoding.overflowing)


def refuse_unknown_ids(folder: ModelFolder, tokenizer: Tokenizer, vocabulary_size: int) -> None:
    """An id without an embedding fails its batch on a CPU; on a GPU it ends all use of the device."""
    highest = max(tokenizer.get_vocab().values())
    if highest >= vocabulary_size:
        raise ModelError(
            f"The tokenizer in {folder.transformer_path} gives ids up to {highest}, but the model knows those below "
            f"{vocabulary_size} only: the two are not of one model."
        )
