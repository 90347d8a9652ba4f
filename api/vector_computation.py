"""Brings the vectors of a set of texts onto disk: what is known is copied, the rest goes through the queue.

Known are the vectors of every corpus prepared on this host in the same namespace, and those in Redis; so a new revision
costs its changes alone.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from tqdm import tqdm

from api.corpus_embedding import PartialEmbeddings, embed_corpus
from api.embedding_client import Embedded
from api.embedding_side import EmbeddingSide
from api.given_embeddings import EmbeddingsOrigin
from api.known_vectors import KnownTables
from api.vector_folder import VectorFolder
from api.worker_directory import codec_of
from shared.corpus import Corpus
from shared.embedding_cache import Vector, VectorCodec, text_key
from shared.messages import Heartbeat

LOOKED_UP_TEXTS = 4096
LOCK_SECONDS = 0.5
SAY_AGAIN_SECONDS = 600.0
"""Who waits says so from time to time: a preparation without a word counts as one that hangs."""

log = logging.getLogger("prepare")


MakeBar = Callable[[str, int, str], AbstractContextManager["tqdm[NoReturn]"]]
"""A progress bar by its label, its total and its unit, which begins with a space."""


@dataclass(frozen=True, slots=True, eq=False)
class TextSet:
    """Texts whose vectors are wanted together."""

    texts: Sequence[str]
    digest: str
    """Of the corpus, or of the texts."""
    revision: str
    what: str = "premises"
    """What they are, for people."""

    @classmethod
    def of_corpus(cls, corpus: Corpus) -> "TextSet":
        """The texts of all premises."""
        return cls([premise.text for premise in corpus.premises], corpus.digest, corpus.revision)


@dataclass
class VectorCounts:
    """Where the vectors of a set of texts came from."""

    texts: int
    already_there: int = 0
    """From an earlier run over the same texts, finished or not."""
    reused: int = 0
    """Copied from other corpora."""
    cached: int = 0
    """Found in Redis."""
    embedded: int = 0
    tokens: int = 0
    """Of the embedded texts, about."""
    seconds: float = 0.0
    """From the first job to the last."""
    texts_per_second: float = 0.0
    """Speed of the embedding."""
    tokens_per_second: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """The first job is about to be put on the queue."""
        self._began = time.monotonic()

    def add(self, embedded: Embedded) -> None:
        """A job is done."""
        [tokens] = embedded.tokens
        self.cached += embedded.cached_texts
        self.embedded += embedded.embedded_texts
        self.tokens += round(sum(tokens) * embedded.embedded_texts / max(1, len(tokens)))
        self.seconds = max(time.monotonic() - self._began, 1e-9)
        self.texts_per_second, self.tokens_per_second = self.embedded / self.seconds, self.tokens / self.seconds


async def compute_vectors(
    wanted: TextSet, folder: VectorFolder, side: EmbeddingSide, worker: Heartbeat, make_bar: MakeBar
) -> tuple[Vector, VectorCounts]:
    """The vectors of all texts, mapped, shape (texts, dimension), finished and described in the folder.

    What an interrupted run left is gone on with.  Others who compute the same wait.  Raises `CorpusError` where files
    in the folder are damaged, `TextRejectedError` where the model cannot embed a text.
    """
    shape = (len(wanted.texts), worker.dimension)
    counts = VectorCounts(len(wanted.texts), already_there=len(wanted.texts))
    async with _alone(folder.path):
        if not folder.vectors.exists():
            await _fill(wanted, PartialEmbeddings.open(folder.path, *shape), counts, (side, worker), make_bar)
        vectors = folder.load(shape, normalized=worker.normalized)
        origin = EmbeddingsOrigin(wanted.digest, wanted.revision, worker.namespace)
        await asyncio.to_thread(folder.describe, wanted.texts, origin)
    return vectors, counts


async def _fill(
    wanted: TextSet,
    partial: PartialEmbeddings,
    counts: VectorCounts,
    at: tuple[EmbeddingSide, Heartbeat],
    make_bar: MakeBar,
) -> None:
    side, worker = at
    missing = partial.missing_rows()
    counts.already_there = len(wanted.texts) - len(missing)
    counts.reused = await asyncio.to_thread(
        _copy_known, wanted.texts, missing, partial, side.embeddings.cache.known, codec_of(worker)
    )
    if counts.reused:
        log.info("%d of %d %s are known from other corpora", counts.reused, len(wanted.texts), wanted.what)
        missing = partial.missing_rows()
    if len(missing):
        log.info("embedding %d of %d %s through the queue", len(missing), len(wanted.texts), wanted.what)
        with make_bar(f"Embedding {wanted.what}", len(missing), f" {wanted.what}") as bar:
            await _embed(wanted.texts, missing, partial, side, counts, bar)
    partial.finish()


async def _embed(
    texts: Sequence[str],
    missing: NDArray[np.intp],
    partial: PartialEmbeddings,
    side: EmbeddingSide,
    counts: VectorCounts,
    bar: "tqdm[NoReturn]",
) -> None:
    counts.begin()

    def note(embedded: Embedded) -> None:
        counts.add(embedded)
        bar.set_postfix_str(f"{counts.tokens_per_second:,.0f} tokens/s", refresh=False)
        bar.update(len(embedded.vectors[0]))

    await embed_corpus(texts, missing, partial, side.embeddings, note)


def _copy_known(
    texts: Sequence[str], missing: NDArray[np.intp], partial: PartialEmbeddings, tables: KnownTables, codec: VectorCodec
) -> int:
    """Fill rows whose texts are known; returns how many."""
    copied = 0
    for start in range(0, len(missing), LOOKED_UP_TEXTS):
        row_of_key = {text_key(texts[row]): row for row in missing[start : start + LOOKED_UP_TEXTS].tolist()}
        known = tables.find(codec, list(row_of_key))
        if known:
            rows = [row_of_key[key] for key in known]
            partial.vectors[rows] = np.stack(list(known.values()))
            partial.flush(rows)
            copied += len(rows)
    return copied


@asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[None]:
    """Hold the folder for this process; wait, with a word, where another one computes the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock, said_at = FileLock(f"{folder}.lock"), -SAY_AGAIN_SECONDS
    while not _try_to_take(lock):
        if time.monotonic() - said_at >= SAY_AGAIN_SECONDS:
            log.info("another process computes the same vectors: waiting for it")
            said_at = time.monotonic()
        await asyncio.sleep(LOCK_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _try_to_take(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
