"""Embeds many texts through the queue: a window of at most 8 jobs, rows kept as they come, resumable after a kill.

State on disk, in a folder of its own (`api/vector_folder.py`): `partial.npy` (float32, rows × dimension, mapped) and
`done.npy` (uint8, one a row, set only after the row is on disk).  When every row is done, `vectors.npy` takes the
place of the partial file by one rename.  A row of zeros is nobody's vector, whatever its mark says: it is embedded.
"""

import asyncio
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from api.cancellation import cancel_and_wait
from api.embedding_client import Embedded, EmbeddingClient, EmbeddingOrder, TextGroup
from api.file_replacement import sync
from api.mapped_file import map_npy
from api.vector_folder import VECTORS_FILE
from api.vector_lengths import unusable_rows
from shared.embedding_cache import Vector
from shared.errors import CorpusError, DeadlineExceededError, NotReadyError, OverloadedError
from shared.messages import Priority

Scalar = TypeVar("Scalar", bound=np.generic)

WINDOW_JOBS = 8
ROWS_OF_A_JOB = 256
CORPUS_CACHE_SECONDS = 600
JOB_DEADLINE_SECONDS = 600.0
PAUSE_SECONDS = 1.0
FLUSH_SECONDS = 1.0

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

log = logging.getLogger("prepare")


@dataclass
class PartialEmbeddings:
    """The rows embedded so far, on disk."""

    folder: Path
    vectors: Vector
    done: NDArray[np.uint8]

    @classmethod
    def open(cls, folder: Path, rows: int, dimension: int) -> "PartialEmbeddings":
        """Go on with what an earlier run left, or begin: where one of the two files is unusable, so is the other.

        Raises `CorpusError` where the disk has no room for all rows.
        """
        folder.mkdir(parents=True, exist_ok=True)
        vectors = _open_array(folder / "partial.npy", np.float32, (rows, dimension))
        done = _open_array(folder / "done.npy", np.uint8, (rows,))
        if vectors is None or done is None:
            (folder / "done.npy").unlink(missing_ok=True)  # first: marks never stand beside other vectors than theirs
            vectors = _new_array(folder / "partial.npy", np.float32, (rows, dimension))
            done = _new_array(folder / "done.npy", np.uint8, (rows,))
        for name in ("partial.npy", "done.npy"):
            _take_space(folder / name)
        return cls(folder, vectors, done)

    def missing_rows(self) -> NDArray[np.intp]:
        """Rows that are still to be embedded."""
        filled = self.done != 0
        filled[unusable_rows(self.vectors)] = False
        return np.flatnonzero(~filled)

    def flush(self, rows: Sequence[int]) -> None:
        """Put vectors on disk first, then the marks that say they are there."""
        if isinstance(self.vectors, np.memmap):
            self.vectors.flush()
        self.done[list(rows)] = 1
        if isinstance(self.done, np.memmap):
            self.done.flush()

    def finish(self) -> Path:
        """Name the complete file; the marks are no longer needed.  Raises `CorpusError` where a row is missing."""
        if len(missing := self.missing_rows()):
            raise CorpusError(
                f"{len(missing)} embeddings, that of premise {missing[0]} first, did not reach {self.folder}: "
                "something else changes or empties its files. Start again: only these are embedded."
            )
        final = self.folder / VECTORS_FILE
        (self.folder / "partial.npy").replace(final)
        sync(self.folder)
        (self.folder / "done.npy").unlink()
        return final


async def embed_corpus(
    texts: Sequence[str],
    missing: NDArray[np.intp],
    partial: PartialEmbeddings,
    client: EmbeddingClient,
    on_progress: Callable[[Embedded], object],
) -> None:
    """Embed the missing rows; `on_progress` hears what each finished job brought.

    Redis or the worker going away is waited out: the chunk in question is asked for again.
    Raises `TextRejectedError` where the model cannot embed a premise.
    """
    chunks = _chunks_by_length(texts, missing)
    unflushed: list[int] = []
    flushed_at = time.monotonic()
    try:
        async for rows, embedded in _in_window(chunks, texts, client):
            partial.vectors[rows] = embedded.vectors[0]
            unflushed += rows.tolist()
            on_progress(embedded)
            if time.monotonic() - flushed_at > FLUSH_SECONDS:
                partial.flush(unflushed)
                unflushed, flushed_at = [], time.monotonic()
    finally:
        partial.flush(unflushed)


async def _in_window(
    chunks: Sequence[NDArray[np.intp]], texts: Sequence[str], client: EmbeddingClient
) -> AsyncIterator[tuple[NDArray[np.intp], Embedded]]:
    async def embed(rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], Embedded]:
        return rows, await _embed_patiently([texts[row] for row in rows], client)

    waiting = iter(chunks)
    running = {asyncio.ensure_future(embed(rows)) for rows in islice(waiting, WINDOW_JOBS)}
    try:
        while running:
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                yield task.result()
                rows = next(waiting, None)
                if rows is not None:
                    running.add(asyncio.ensure_future(embed(rows)))
    finally:
        await cancel_and_wait(running)


async def _embed_patiently(texts: Sequence[str], client: EmbeddingClient) -> Embedded:
    while True:
        order = EmbeddingOrder(time.time() + JOB_DEADLINE_SECONDS, "corpus", CORPUS_CACHE_SECONDS, wants_tokens=True)
        try:
            return await client.embed([TextGroup(texts, Priority.CORPUS)], order)
        except (NotReadyError, OverloadedError, DeadlineExceededError) as error:
            log.debug("corpus chunk put off: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)


def _chunks_by_length(texts: Sequence[str], rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Chunks of texts of about one length (little padding), in a mixed order (an honest estimate of the time left)."""
    by_length = sorted(rows.tolist(), key=lambda row: len(texts[row]))
    chunks = [np.array(by_length[start : start + ROWS_OF_A_JOB]) for start in range(0, len(by_length), ROWS_OF_A_JOB)]
    order = np.random.default_rng(0).permutation(len(chunks))
    return [chunks[position] for position in order]


def _open_array(path: Path, dtype: type[Scalar], shape: tuple[int, ...]) -> NDArray[Scalar] | None:
    """The array as it lies; None where there is none of this type and shape."""
    try:
        map_npy(path)  # "r+" would fill up a file cut short with zeros
        array: NDArray[Scalar] = np.load(path, mmap_mode="r+", allow_pickle=False)
    except (FileNotFoundError, ValueError):  # cut short, or killed before its header was written
        return None
    return array if array.shape == shape and array.dtype == dtype else None


def _new_array(path: Path, dtype: type[Scalar], shape: tuple[int, ...]) -> NDArray[Scalar]:
    path.unlink(missing_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _take_space(path: Path) -> None:
    """Take the room of a file with holes now: to write into a mapped hole of a full disk kills the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    size = path.stat().st_size
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise CorpusError(
                    f"{path} needs {size:,} bytes ({error.strerror}): make room, or name another DATA_DIR."
                ) from error
            log.debug("no room can be taken for %s: %s", path, error)
