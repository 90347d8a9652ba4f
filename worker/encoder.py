"""The model in memory: tokenise, forward over one batch, pool, normalise."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor

from shared.embedding_cache import Vector
from shared.errors import ModelError
from shared.model_catalogue import Pooling
from worker.gpu_memory import GpuMemory
from worker.kernel_candidates import kernel_candidates
from worker.kernel_choice import AUTO, KernelChoice, KernelTrial, probe_texts, thread_counts, use_threads
from worker.model_folder import ModelFolder, fingerprint, read_model_folder
from worker.packed_batch import TokenIds
from worker.tokenizer import full_length, load_tokenizer, longest_text_tokens, refuse_unknown_ids
from worker.transformer import load_transformer

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PROBE_TEXT = "theorem Nat.add_comm (a b : Nat) : Eq (HAdd.hAdd a b) (HAdd.hAdd b a)"
OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # CPU on Linux and macOS
    "not enough memory",  # CPU on Windows
    "cublas_status_alloc_failed",
)


@dataclass(frozen=True, slots=True)
class Launched:
    """A batch on its way; on a GPU its vectors travel to the CPU while the next batch is prepared."""

    _vectors: Tensor
    _arrived: torch.cuda.Event | None

    def vectors(self) -> Vector:
        """Wait for the batch; returns (texts, dimension), float32.  A GPU's errors may be raised only here."""
        if self._arrived is not None:
            self._arrived.synchronize()
        vectors: Vector = self._vectors.numpy()
        return vectors


@dataclass(frozen=True)
class Encoder:
    """A sentence-transformers encoder (BERT, RoBERTa, DistilBERT or MPNet shape) on one device.

    A text's vector does not depend on the batch it is in: no token attends to another text's, or to padding.
    """

    folder: ModelFolder
    tokenizer: Tokenizer
    choice: KernelChoice
    pad_token_id: int
    max_tokens: int
    """Longest text in tokens, special tokens included; longer ones are truncated."""
    dimension: int
    vocabulary_size: int
    """Token ids are below it."""
    device: str
    dtype: str
    namespace: str
    """Digest of everything that a vector depends on: files, dtypes, pooling, normalisation, length; not the kernel."""

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        dtype: str,
        device: str,
        cache_dtype: str,
        threads: int = 0,
        kernel: str = AUTO,
        pooling: Pooling | Literal[""] = "",
    ) -> "Encoder":
        """Load a folder and choose how to compute it; `pooling` replaces the folder's own.

        Raises `ModelError` with a sentence where it cannot be loaded or computed as it asks to be.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        folder = read_model_folder(path, pooling=pooling)
        place = choose_device(device)
        tokenizer, pad_token_id, tokenizer_limit = load_tokenizer(folder)
        model = load_transformer(folder, DTYPES[dtype], place)
        vocabulary_size = int(model.get_input_embeddings().num_embeddings)
        refuse_unknown_ids(folder, tokenizer, vocabulary_size)
        max_tokens = longest_text_tokens(folder, tokenizer, tokenizer_limit)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        candidates = kernel_candidates(
            model, folder, pad_token_id=pad_token_id, max_tokens=max_tokens, device=place, dtype=DTYPES[dtype]
        )
        texts = probe_texts(np.array(tokenizer.encode(PROBE_TEXT).ids, np.int32), max_tokens, place)
        choice = KernelTrial(path, place, dtype, candidates, texts).choose(kernel, thread_counts(threads, place))
        parts = (fingerprint(path), dtype, cache_dtype, folder.pooling, folder.normalize, max_tokens)
        namespace = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        dimension = int(model.config.hidden_size)
        return cls(
            folder, tokenizer, choice, pad_token_id, max_tokens, dimension, vocabulary_size, place, dtype, namespace
        )

    @property
    def kernel(self) -> str:
        """Name of the way in which the model is computed."""
        return self.choice.timing.kernel

    @property
    def threads(self) -> int:
        """CPU threads of the model; 0 on a GPU."""
        return self.choice.timing.threads

    @property
    def tokens_per_second(self) -> float:
        """As measured when the kernel was chosen."""
        return self.choice.timing.tokens_per_second

    @property
    def batches_ahead(self) -> int:
        """Batches to launch before an earlier one is fetched: on a GPU the host packs the next while this one runs."""
        return 1 if self.device.startswith("cuda") else 0

    @property
    def normalized(self) -> bool:
        """Whether vectors are of unit length."""
        return self.folder.normalize

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text, truncated to `max_tokens`; releases the interpreter's lock."""
        return self.tokenize_and_count(texts)[0]

    def tokenize_and_count(self, texts: Sequence[str]) -> tuple[list[TokenIds], list[int]]:
        """The same, and how many tokens each text has without truncation."""
        encodings = self.tokenizer.encode_batch(list(texts))
        token_ids = [np.array(encoding.ids, np.int32) for encoding in encodings]
        special_tokens = self.tokenizer.num_special_tokens_to_add(is_pair=False)
        return token_ids, [full_length(encoding, special_tokens) for encoding in encodings]

    def cost_tokens(self, count: int, longest: int, total: int) -> int:
        """What a batch of `count` texts, the longest of `longest` tokens, `total` tokens in all, costs in tokens."""
        return self.choice.forward.cost_tokens(count, longest, total)

    def embed(self, batch: Sequence[TokenIds]) -> Vector:
        """Vectors of shape (len(batch), dimension), float32, of one batch; torch's errors pass through."""
        return self.launch(batch).vectors()

    def launch(self, batch: Sequence[TokenIds]) -> Launched:
        """Start a batch: on a GPU this returns before it is computed.  Torch's errors pass through."""
        use_threads(self.threads)
        texts = [token_ids if len(token_ids) else np.array([self.pad_token_id], np.int32) for token_ids in batch]
        try:
            with torch.inference_mode():
                return _fetch(self.choice.forward(texts))
        except RuntimeError as error:
            if self.is_out_of_memory(error) and self.device.startswith("cuda"):
                torch.cuda.empty_cache()
            raise

    def check(self) -> None:
        """Embed a text that is known to be good: torch's errors pass through where the device no longer works."""
        self.embed(self.tokenize([PROBE_TEXT]))

    def gpu_memory(self) -> GpuMemory:
        """What this process uses of the GPU's memory now; nothing elsewhere."""
        if not self.device.startswith("cuda"):
            return GpuMemory()
        device_bytes = torch.cuda.get_device_properties(self.device).total_memory
        return GpuMemory(torch.cuda.memory_reserved(self.device), device_bytes)

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


def _fetch(vectors: Tensor) -> Launched:
    """Begin the copy to the CPU; from a CUDA device without waiting, into memory that it writes by itself."""
    if not vectors.is_cuda:
        return Launched(vectors.cpu(), None)
    on_cpu = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    on_cpu.copy_(vectors, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch leaves it untyped
    arrived.record()
    return Launched(on_cpu, arrived)
