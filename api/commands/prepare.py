"""`premises prepare`: extract, parse, embed what is missing, write the snapshot that API replicas map."""

import asyncio
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from api.commands.output import progress_bar
from api.corpus_pointer import CorpusPointer, changed_corpus, snapshots_in_use
from api.embedding_side import EmbeddingSide, running_embedding_side, wait_for_worker
from api.given_embeddings import check_embeddings
from api.preparation_record import PreparationRecord, file_stamps, record_path, source_digest
from api.snapshot import SnapshotManifest, snapshot_held
from api.snapshot_writer import prune_snapshots, publish_snapshot, write_snapshot
from api.vector_computation import SAY_AGAIN_SECONDS, TextSet, compute_vectors
from api.vector_folder import VectorFolder
from api.vector_recognition import Embeddings, are_of_this_model
from shared.artifacts import find_corpus, find_embeddings, open_corpus_folder
from shared.corpus import Corpus, read_corpus
from shared.corpus_source import CorpusSource
from shared.embedding_cache import Vector
from shared.errors import CorpusError, UnknownCorpusError
from shared.messages import Heartbeat
from shared.redis_client import RedisError, redis_away
from shared.settings import Settings
from shared.wanted_corpora import hold_digest, read_wanted

log = logging.getLogger("prepare")


def prepare(settings: Settings, *, prefix: str = "", added_at: float = 0.0, digest: str = "") -> Path:
    """Make the snapshot of the corpus that the settings name, point API replicas at it, and return its folder.

    With a `prefix` replicas serve it there, for what was added at `added_at` (epoch seconds).  Where nothing has
    changed since the last preparation, its snapshot is used again without reading the corpus.  With a `digest` a corpus
    that has another one is refused before anything is embedded.  Raises `ArtifactError`, `CorpusError` or
    `NotReadyError` with a sentence on what does not fit.  One runs at a time on a data folder: others wait for the lock
    and then find the work done.
    """
    with _alone_on(settings.data_dir):
        return _prepare_alone(settings, prefix, added_at, digest, publish=True)


@contextmanager
def unpublished_snapshot(settings: Settings) -> Iterator[Path]:
    """Make the snapshot as `prepare` does, for this block alone: replicas go on with the one that they have.

    It is held before another process may prune: nothing else names it.
    """
    with ExitStack() as until_the_end:
        with _alone_on(settings.data_dir):
            folder = _prepare_alone(settings, publish=False)
            until_the_end.enter_context(snapshot_held(folder))
        yield folder


def _prepare_alone(
    settings: Settings, prefix: str = "", added_at: float = 0.0, digest: str = "", *, publish: bool
) -> Path:
    source = Source.find(settings, prefix, added_at, digest)
    earlier = _find_earlier(settings.data_dir, source)
    corpus = None if earlier else source.read_corpus()  # while the worker is still loading its model
    return asyncio.run(_prepare(source, earlier, corpus, publish=publish))


@contextmanager
def _alone_on(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(parents=True, exist_ok=True)
    lock, patience_seconds = FileLock(data_dir / "prepare.lock"), 0.0
    while not lock.is_locked:
        try:
            lock.acquire(timeout=patience_seconds)
        except Timeout:
            log.info("another preparation is at work in this data folder: waiting for its end")
            patience_seconds = SAY_AGAIN_SECONDS
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class Source:
    """What a preparation is made of."""

    settings: Settings
    found_corpus: Path
    """Folder or archive."""
    given: Path | None
    """Embeddings that somebody else computed."""
    digest: str | None
    """Taken before anything is read: a change in between is then seen by the next preparation."""
    prefix: str
    """Where the corpus is to be served; empty: it is the default one."""
    added_at: float
    """When it was wanted at the prefix, epoch seconds."""
    expected_corpus_digest: str
    """Empty: any."""

    @classmethod
    def find(cls, settings: Settings, prefix: str, added_at: float, expected_digest: str) -> Self:
        """Find the files; raises `ArtifactError` where one is missing."""
        corpus, given = find_corpus(settings), find_embeddings(settings)
        digest = source_digest(settings, corpus, given)
        return cls(settings, corpus, given, digest, prefix, added_at, expected_digest)

    def read_corpus(self) -> Corpus:
        """Unpack, if need be, and parse; raises `CorpusError` where it is not the one that is expected."""
        folder = open_corpus_folder(self.settings, self.found_corpus)
        corpus = read_corpus(folder, on_broken_line=self.settings.corpus_on_broken_line)
        if self.expected_corpus_digest not in ("", corpus.digest):
            raise CorpusError(changed_corpus(self.prefix, corpus.digest, self.expected_corpus_digest))
        return corpus


def _find_earlier(data_dir: Path, source: Source) -> PreparationRecord | None:
    """The last preparation, if it was of this very source and its snapshot is whole."""
    record = PreparationRecord.read(data_dir, source.prefix)
    if record is None or record.source != source.digest or record.find_snapshot(data_dir) is None:
        return None
    return record


async def _prepare(source: Source, earlier: PreparationRecord | None, corpus: Corpus | None, *, publish: bool) -> Path:
    data_dir = source.settings.data_dir
    async with running_embedding_side(source.settings) as side:
        worker = await wait_for_worker(side)
        if earlier and earlier.fits(worker) and (folder := earlier.find_snapshot(data_dir)):
            log.info("nothing has changed since the snapshot %s was made: it is used again", folder.name[:12])
        else:
            folder = await _make_snapshot(source, corpus or source.read_corpus(), worker, side)
        if publish and source.prefix:
            await _hold_digest(source, SnapshotManifest.read(folder).corpus_digest, side)
    if publish:
        _publish(source, folder, worker)
    return folder


async def _hold_digest(source: Source, digest: str, side: EmbeddingSide) -> None:
    """Let this be the corpus of the prefix for good, before any replica sees it; `CorpusError` where another one is."""
    try:
        wanted = (await read_wanted(side.client)).get(source.prefix)
        ours = CorpusSource.of(source.settings), source.added_at
        if wanted is None or (wanted.source, wanted.added_at) != ours:
            raise UnknownCorpusError(
                f"This corpus is not wanted at the prefix {source.prefix!r}: `premises corpora add`."
            )
        held = await hold_digest(side.client, wanted, digest)
    except RedisError as error:
        raise redis_away(error) from error
    if held != digest:
        raise CorpusError(changed_corpus(source.prefix, digest, held))


def _publish(source: Source, folder: Path, worker: Heartbeat) -> None:
    """Note what the snapshot was made of, have replicas map it, and remove those that nobody needs any more."""
    data_dir, prefix = source.settings.data_dir, source.prefix
    if source.digest:
        PreparationRecord(
            source=source.digest, namespace=worker.namespace, dimension=worker.dimension, snapshot=folder.name
        ).write(data_dir, prefix)
    else:
        record_path(data_dir, prefix).unlink(missing_ok=True)
    if prefix:
        CorpusPointer(CorpusSource.of(source.settings), source.added_at, folder.name).write(data_dir, prefix)
    else:
        publish_snapshot(data_dir, folder)
    prune_snapshots(data_dir, keep=snapshots_in_use(data_dir))


async def _make_snapshot(source: Source, corpus: Corpus, worker: Heartbeat, side: EmbeddingSide) -> Path:
    settings = source.settings
    if source.given is not None:
        return await _make_snapshot_of_given(settings, source.given, corpus, worker, side.embeddings)
    vectors, namespace = await _computed(settings, corpus, worker, side), worker.namespace
    return write_snapshot(corpus, vectors, data_dir=settings.data_dir, model=settings.model_id, namespace=namespace)


async def _make_snapshot_of_given(
    settings: Settings, given: Path, corpus: Corpus, worker: Heartbeat, embeddings: Embeddings
) -> Path:
    """The file is somebody else's and read several times: one that is written to meanwhile would be a mixture."""
    before = file_stamps([given])
    vectors, namespace = check_embeddings(given, corpus=corpus, worker=worker)
    texts = [premise.text for premise in corpus.premises]
    if namespace is None and await are_of_this_model(vectors, texts, embeddings):
        namespace = worker.namespace
    elif namespace is None:
        log.warning("%s is served as if %s had made it, and used for this corpus alone", given, worker.model)
    folder = write_snapshot(corpus, vectors, data_dir=settings.data_dir, model=settings.model_id, namespace=namespace)
    if file_stamps([given]) != before:
        shutil.rmtree(folder)
        raise CorpusError(f"The embeddings {given} changed while they were read: start again once they are written.")
    return folder


async def _computed(settings: Settings, corpus: Corpus, worker: Heartbeat, side: EmbeddingSide) -> Vector:
    folder = VectorFolder.of_corpus(settings.data_dir, corpus.digest, worker.namespace)
    vectors, _ = await compute_vectors(TextSet.of_corpus(corpus), folder, side, worker, progress_bar)
    return vectors
