"""The model in memory: tokenise, forward over one padded batch, pool, normalise."""

import hashlib
import logging
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
from tokenizers import Tokenizer
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

log = logging.getLogger("worker")


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
        model = _load_model(folder, DTYPES[dtype]).to(place).eval()
        tokenizer, pad_token_id, tokenizer_limit = _load_tokenizer(folder)
        limits = [limit for limit in (folder.max_tokens, tokenizer_limit) if limit is not None]
        max_tokens = min(limits, default=DEFAULT_MAX_TOKENS)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        parts = (fingerprint(path), dtype, cache_dtype, folder.pooling, folder.normalize, max_tokens)
        namespace = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return cls(folder, model, tokenizer, pad_token_id, max_tokens, place, dtype, namespace)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text, truncated to `max_tokens`; releases the interpreter's lock."""
        prepared = [text.lower() for text in texts] if self.folder.lowercase else list(texts)
        return [np.array(encoding.ids, np.int32) for encoding in self.tokenizer.encode_batch(prepared)]

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
        return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in str(error).lower()

    def warm_up(self) -> float:
        """Run a few batches; returns tokens per second.  Raises `ModelError` where the model does not compute."""
        unit = [np.resize(self.tokenize(["theorem Nat.add_comm : Eq (a b : Nat)"])[0], WARM_UP_TOKENS)] * WARM_UP_TEXTS
        try:
            vectors = self.embed(unit)
            started = time.perf_counter()
            for _ in range(WARM_UP_BATCHES):
                self.embed(unit)
        except RuntimeError as error:
            raise ModelError(f"The model in {self.folder.path} does not run on {self.device}: {error}") from error
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"The model in {self.folder.path} computes values that are not finite in {self.dtype}: "
                "its weights are damaged, or DTYPE does not suit it."
            )
        return WARM_UP_BATCHES * WARM_UP_TEXTS * WARM_UP_TOKENS / (time.perf_counter() - started)

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


def _load_model(folder: ModelFolder, dtype: torch.dtype) -> Any:  # noqa: ANN401 - transformers ships no types
    pooler = {} if folder.architecture == "distilbert" else {"add_pooling_layer": False}
    attention = "eager" if folder.architecture == "mpnet" else "sdpa"
    try:
        model, report = transformers.AutoModel.from_pretrained(
            folder.transformer_path,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            output_loading_info=True,
            **pooler,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"The weights in {folder.transformer_path} cannot be loaded: {error}") from error
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(
            f"{folder.transformer_path} lacks {len(absent)} weights ({absent[0]}, ...): random numbers would stand in."
        )
    return model


def _load_tokenizer(folder: ModelFolder) -> tuple[Tokenizer, int, int | None]:
    """The fast tokenizer itself, the padding id, and its limit in tokens if it has one."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder.transformer_path, local_files_only=True)
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:
        raise ModelError(f"The tokenizer in {folder.transformer_path} cannot be loaded: {error}") from error
    limit = tokenizer.model_max_length if tokenizer.model_max_length < SMALLEST_UNLIMITED else None
    return backend, int(tokenizer.pad_token_id or 0), limit
