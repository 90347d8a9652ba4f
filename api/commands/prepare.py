"""`premises prepare`: extract, parse, embed what is missing, write the snapshot that API replicas map."""

import asyncio
import logging
import sys
import time
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from api.corpus_embedding import PartialEmbeddings, embed_corpus, final_path
from api.given_embeddings import check_embeddings
from api.service import EmbeddingSide, running_embedding_side
from api.snapshot_writer import prune_snapshots, publish_snapshot, write_snapshot
from shared.artifacts import find_embeddings, open_corpus_folder
from shared.corpus import Corpus, read_corpus
from shared.embedding_cache import Vector
from shared.errors import CorpusError, NotReadyError
from shared.messages import Heartbeat
from shared.settings import Settings

WORKER_WAIT_SECONDS = 900.0
LOOK_FOR_WORKER_SECONDS = 0.2

log = logging.getLogger("prepare")


def prepare(settings: Settings) -> None:
    """Make the snapshot of the corpus that the settings name and point API replicas at it.

    Raises `ArtifactError`, `CorpusError` or `NotReadyError` with a sentence on what does not fit.  One runs at a time
    on a data folder: others wait for the lock and then find the work done.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.data_dir / "prepare.lock"):
        corpus = read_corpus(open_corpus_folder(settings), on_broken_line=settings.corpus_on_broken_line)
        given = find_embeddings(settings)
        asyncio.run(_prepare(settings, corpus, given))


async def _prepare(settings: Settings, corpus: Corpus, given: Path | None) -> None:
    async with running_embedding_side(settings) as side:
        worker = await _wait_for_worker(side)
        if given is not None:
            vectors, namespace = check_embeddings(given, corpus=corpus, worker=worker)
        else:
            vectors, namespace = await _computed(settings, corpus, worker, side), worker.namespace
    folder = write_snapshot(corpus, vectors, data_dir=settings.data_dir, model=settings.model_id, namespace=namespace)
    publish_snapshot(settings.data_dir, folder)
    prune_snapshots(settings.data_dir, keep=folder)


async def _wait_for_worker(side: EmbeddingSide) -> Heartbeat:
    """The worker says in which namespace and dimension it embeds: wait until one is up."""
    gives_up_at = time.monotonic() + WORKER_WAIT_SECONDS
    if not side.directory.serving():
        log.info("waiting for a worker: it says which vectors fit (%s)", side.directory.why_not_serving())
    while not (serving := side.directory.serving()):
        if time.monotonic() > gives_up_at:
            raise NotReadyError(f"{side.directory.why_not_serving()} Waited {WORKER_WAIT_SECONDS:.0f} seconds.")
        await asyncio.sleep(LOOK_FOR_WORKER_SECONDS)
    return serving[0]


async def _computed(settings: Settings, corpus: Corpus, worker: Heartbeat, side: EmbeddingSide) -> Vector:
    folder = settings.data_dir / "embeddings" / f"{corpus.digest[:16]}-{worker.namespace}"
    final = final_path(folder)
    if not final.exists():
        partial = PartialEmbeddings.open(folder, len(corpus.premises), worker.dimension)
        missing = len(partial.missing_rows())
        log.info("embedding %d of %d premises through the queue", missing, len(corpus.premises))
        await _embed_with_progress(corpus, partial, side)
        final = partial.finish()
    vectors: Vector = np.load(final, mmap_mode="r", allow_pickle=False)
    if vectors.shape != (len(corpus.premises), worker.dimension):
        raise CorpusError(f"{final} has the shape {vectors.shape}: remove it, it will be computed again.")
    return vectors


async def _embed_with_progress(corpus: Corpus, partial: PartialEmbeddings, side: EmbeddingSide) -> None:
    texts = [premise.text for premise in corpus.premises]
    done = int(np.count_nonzero(partial.done))
    seldom = 0.5 if sys.stderr.isatty() else 10.0
    with tqdm(total=len(texts), initial=done, unit=" premises", desc="Embedding the corpus", mininterval=seldom) as bar:
        await embed_corpus(texts, partial, side.embeddings, bar.update)
