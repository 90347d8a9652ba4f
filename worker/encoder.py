"""The model in memory: tokenise, forward over one padded batch, pool, normalise."""

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers
from torch import Tensor

from shared.embedding_cache import Vector
from shared.errors import ModelError
from worker.model_folder import ModelFolder, fingerprint, read_model_folder
from worker.pooling import pool

TokenIds = NDArray[np.int32]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DEFAULT_MAX_TOKENS = 512
WARM_UP_BATCHES = 4
WARM_UP_TEXTS = 8
WARM_UP_TOKENS = 64
SMALLEST_UNLIMITED = 1_000_000
"""Tokenizers without a limit of their own name an astronomic one."""
OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # CPU on Linux and macOS
    "not enough memory",  # CPU on Windows
    "cublas_status_alloc_failed",
)
LONGEST_REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Encoder:
    """A sentence-transformers encoder (BERT, RoBERTa, DistilBERT or MPNet shape) on one device.

    A text's vector does not depend on the batch it is in: padding is masked in attention and pooling.
    """

    folder: ModelFolder
    model: Any
    tokenizer: Tokenizer
    pad_token_id: int
    max_tokens: int
    """Longest text in tokens, special tokens included; longer ones are truncated."""
    device: str
    dtype: str
    namespace: str
    """Digest of everything that a vector depends on: files, dtypes, pooling, normalisation, length."""

    @classmethod
    def load(cls, path: Path, *, dtype: str, device: str, cache_dtype: str, threads: int = 0) -> "Encoder":
        """Load a folder; raises `ModelError` with a sentence where it cannot be loaded as it asks to be."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        if threads:
            torch.set_num_threads(threads)
        folder = read_model_folder(path)
        place = choose_device(device)
        tokenizer, pad_token_id, tokenizer_limit = _load_tokenizer(folder)
        model = _load_model(folder, DTYPES[dtype], place)
        _refuse_unknown_ids(folder, tokenizer, _vocabulary_size(model))
        max_tokens = _max_tokens(folder, tokenizer, tokenizer_limit)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        parts = (fingerprint(path), dtype, cache_dtype, folder.pooling, folder.normalize, max_tokens)
        namespace = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return cls(folder, model, tokenizer, pad_token_id, max_tokens, place, dtype, namespace)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.model.config.hidden_size)

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        return _vocabulary_size(self.model)

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text, truncated to `max_tokens`; releases the interpreter's lock."""
        return [np.array(encoding.ids, np.int32) for encoding in self.tokenizer.encode_batch(list(texts))]

    def cost_tokens(self, lengths: Sequence[int]) -> int:
        """What a batch of texts of these lengths costs: each is padded to the longest."""
        return max(lengths) * len(lengths)

    def embed(self, batch: Sequence[TokenIds]) -> Vector:
        """Vectors of shape (len(batch), dimension), float32, of one batch; torch's errors pass through."""
        token_ids, mask = self._pad(batch)
        try:
            with torch.inference_mode():
                hidden = self.model(input_ids=token_ids, attention_mask=mask).last_hidden_state
                pooled = pool(hidden.float(), mask, self.folder.pooling)
                vectors = torch.nn.functional.normalize(pooled, dim=1) if self.folder.normalize else pooled
                result: Vector = vectors.cpu().numpy()
                return result
        except RuntimeError as error:
            if self.is_out_of_memory(error) and self.device.startswith("cuda"):
                torch.cuda.empty_cache()
            raise

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether a failed batch may succeed in halves."""
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in OUT_OF_MEMORY_TEXTS)

    def warm_up(self) -> float:
        """Run a few batches; returns tokens per second.  Raises `ModelError` where the model does not compute."""
        length = min(WARM_UP_TOKENS, self.max_tokens)
        unit = [np.resize(self.tokenize(["theorem Nat.add_comm : Eq (a b : Nat)"])[0], length)] * WARM_UP_TEXTS
        try:
            vectors = self.embed(unit)
            started = time.perf_counter()
            for _ in range(WARM_UP_BATCHES):
                self.embed(unit)
        except Exception as error:
            raise ModelError(
                f"The model in {self.folder.path} does not run on {self.device} in {self.dtype} ({_reason(error)}): "
                "try another DEVICE or DTYPE."
            ) from error
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"The model in {self.folder.path} computes values that are not finite in {self.dtype}: "
                "its weights are damaged, or DTYPE does not suit it."
            )
        return WARM_UP_BATCHES * WARM_UP_TEXTS * length / (time.perf_counter() - started)

    def _pad(self, batch: Sequence[TokenIds]) -> tuple[Tensor, Tensor]:
        longest = max(1, *map(len, batch))
        token_ids = np.full((len(batch), longest), self.pad_token_id, np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, ids in enumerate(batch):
            token_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        return torch.from_numpy(token_ids).to(self.device), torch.from_numpy(mask).to(self.device)


def choose_device(wanted: str) -> str:
    """The torch device for a DEVICE setting; `ModelError` where it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there[wanted]:
        raise ModelError(f"DEVICE={wanted} was asked for, but torch {torch.__version__} finds none here.")
    return "cuda:0" if wanted == "cuda" else wanted


def _load_model(folder: ModelFolder, dtype: torch.dtype, device: str) -> Any:  # noqa: ANN401 - transformers ships no types
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
            f"The weights in {folder.transformer_path} cannot be loaded onto {device} ({_reason(error)}): "
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


def _refuse_unknown_ids(folder: ModelFolder, tokenizer: Tokenizer, vocabulary_size: int) -> None:
    """An id without an embedding fails its batch on a CPU; on a GPU it ends all use of the device."""
    highest = max(tokenizer.get_vocab().values())
    if highest >= vocabulary_size:
        raise ModelError(
            f"The tokenizer in {folder.transformer_path} gives ids up to {highest}, but the model knows those below "
            f"{vocabulary_size} only: the two are not of one model."
        )


def _vocabulary_size(model: Any) -> int:  # noqa: ANN401 - transformers ships no types
    return int(model.get_input_embeddings().num_embeddings)


def _max_tokens(folder: ModelFolder, tokenizer: Tokenizer, tokenizer_limit: int | None) -> int:
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


def _load_tokenizer(folder: ModelFolder) -> tuple[Tokenizer, int, int | None]:
    """The fast tokenizer itself, the padding id, and its limit in tokens if it has one."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder.transformer_path, local_files_only=True)
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:
        raise ModelError(
            f"The tokenizer in {folder.transformer_path} cannot be loaded ({_reason(error)}): fetch the folder again."
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


def _reason(error: BaseException) -> str:
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first_line[:LONGEST_REASON_CHARACTERS]}"
