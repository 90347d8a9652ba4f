"""The model in memory: tokenise, forward over one batch, pool, normalise."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from shared.embedding_cache import Vector
from shared.errors import ModelError
from worker.forward import PaddedForward
from worker.kernel_choice import Kernel, Trial, candidates_for, choose_kernel, sample_batch
from worker.model_folder import ModelFolder, fingerprint, read_model_folder
from worker.model_loading import (
    choose_max_tokens,
    load_model,
    load_tokenizer,
    reason_of,
    refuse_unknown_ids,
    vocabulary_size_of,
)
from worker.packed_weights import PackedWeights
from worker.pooling import pool
from worker.token_batch import TokenBatch, to_device
from worker.token_ids import TokenIds

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # CPU on Linux and macOS
    "not enough memory",  # CPU on Windows
    "cublas_status_alloc_failed",
)


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How a folder is loaded; the names are those of the settings."""

    dtype: str = "float32"
    device: str = "auto"
    cache_dtype: str = "float32"
    kernel: str = "auto"
    threads: int = 0
    """0: whatever is measured to be best."""


class Launched:
    """A batch on its way through the model; on a GPU the host goes on meanwhile."""

    def __init__(self, vectors: Tensor, order: NDArray[np.int64]) -> None:
        self._order = order
        self._event: torch.cuda.Event | None = None
        self._vectors = vectors
        if vectors.is_cuda:
            self._vectors = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
            self._vectors.copy_(vectors, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def vectors(self) -> Vector:
        """Wait for the batch; shape (texts, dimension), float32, in the caller's order."""
        if self._event is not None:
            self._event.synchronize()
        result = np.empty(self._vectors.shape, dtype=np.float32)
        result[self._order] = self._vectors.numpy()
        return result


@dataclass(frozen=True)
class Encoder:
    """A sentence-transformers encoder (BERT, RoBERTa, DistilBERT or MPNet shape) on one device.

    A text's vector does not depend on the batch it is in.
    """

    folder: ModelFolder
    kernel: Kernel
    tokenizer: Tokenizer
    dimension: int
    """Length of a vector."""
    vocabulary_size: int
    """Token ids are below it."""
    max_tokens: int
    """Longest text in tokens, special tokens included; longer ones are truncated."""
    device: str
    dtype: str
    namespace: str
    """Digest of everything that a vector depends on: files, dtypes, pooling, normalisation, length."""

    @classmethod
    def load(cls, path: Path, options: EncoderOptions) -> "Encoder":
        """Load a folder and choose its kernel; raises `ModelError` with a sentence where it does not run as asked."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        folder = read_model_folder(path)
        device = choose_device(options.device)
        tokenizer, pad_token_id, tokenizer_limit = load_tokenizer(folder)
        model = load_model(folder, DTYPES[options.dtype], device)
        vocabulary_size = vocabulary_size_of(model)
        refuse_unknown_ids(folder, tokenizer, vocabulary_size)
        max_tokens = choose_max_tokens(folder, tokenizer, tokenizer_limit)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        parts = (fingerprint(path), options.dtype, options.cache_dtype, folder.pooling, folder.normalize, max_tokens)
        return cls(
            folder=folder,
            kernel=_choose(model, folder, pad_token_id, max_tokens, device, options),
            tokenizer=tokenizer,
            dimension=int(model.config.hidden_size),
            vocabulary_size=vocabulary_size,
            max_tokens=max_tokens,
            device=device,
            dtype=options.dtype,
            namespace=hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
        )

    @property
    def batches_ahead(self) -> int:
        """Batches to launch before the results of an earlier one are fetched: on a GPU the host prepares the next."""
        return 1 if self.device.startswith("cuda") else 0

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text, truncated to `max_tokens`; releases the interpreter's lock."""
        return [np.array(encoding.ids, np.int32) for encoding in self.tokenizer.encode_batch(list(texts))]

    def cost_tokens(self, texts: int, longest: int, total: int) -> int:
        """What a batch of `texts` texts costs, of which the longest has `longest` tokens and all have `total`."""
        return self.kernel.forward.cost_tokens(texts, longest, total)

    def launch(self, batch: Sequence[TokenIds]) -> Launched:
        """Start one batch of token ids; torch's errors pass through."""
        packed = TokenBatch.of(batch)
        try:
            with torch.inference_mode():
                hidden = self.kernel.forward(packed)
                pooled = pool(hidden.float(), to_device(packed.starts, self.device), self.folder.pooling)
                vectors = torch.nn.functional.normalize(pooled, dim=1) if self.folder.normalize else pooled
                return Launched(vectors if vectors.is_cuda else vectors.cpu(), packed.order)
        except RuntimeError as error:
            if self.is_out_of_memory(error) and self.device.startswith("cuda"):
                torch.cuda.empty_cache()
            raise

    def embed(self, batch: Sequence[TokenIds]) -> Vector:
        """Vectors of shape (len(batch), dimension), float32, of one batch; torch's errors pass through."""
        return self.launch(batch).vectors()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether a failed batch may succeed in halves."""
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in OUT_OF_MEMORY_TEXTS)


def choose_device(wanted: str) -> str:
    """The torch device for a DEVICE setting; `ModelError` where it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there[wanted]:
        raise ModelError(f"DEVICE={wanted} was asked for, but torch {torch.__version__} finds none here.")
    return "cuda:0" if wanted == "cuda" else wanted


def _choose(
    model: torch.nn.Module,
    folder: ModelFolder,
    pad_token_id: int,
    max_tokens: int,
    device: str,
    options: EncoderOptions,
) -> Kernel:
    """Try what there is; only what was chosen keeps its weights."""
    try:
        with torch.inference_mode():
            weights = PackedWeights.of(model, folder.architecture, max_tokens)
            batch = sample_batch(vocabulary_size_of(model), max_tokens, device, weights.padding_id)
            trial = Trial(PaddedForward(model, pad_token_id, device), batch, device, DTYPES[options.dtype])
            candidates = candidates_for(model, weights, pad_token_id, device)
            return choose_kernel(trial, candidates, wanted=options.kernel, threads=options.threads)
    except ModelError as error:
        raise ModelError(f"The model in {folder.path} cannot be used: {error}") from None
    except Exception as error:
        raise ModelError(
            f"The model in {folder.path} does not run on {device} in {options.dtype} ({reason_of(error)}): "
            "try another DEVICE or DTYPE."
        ) from error
