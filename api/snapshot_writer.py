"""Writes the snapshots that API replicas map, names the one to serve, and removes those that nobody maps."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import orjson
from filelock import FileLock
from numpy.typing import NDArray

from api.file_replacement import UNFINISHED, replacing, sync
from api.lexical.term_index_writer import write_term_index
from api.name_table import write_names
from api.quantized_rows import write_quantized
from api.ready_answer import write_ready_answer
from api.snapshot import (
    DIGEST,
    FORMAT_VERSION,
    IN_MODULE_SYSTEM_FILE,
    INDEX_FILE,
    INDEXED_MODULES_FILE,
    INDEXED_PREMISES_FILE,
    IS_EXPOSED_FILE,
    IS_THEOREM_FILE,
    MANIFEST_FILE,
    MODULE_OF_ROW_FILE,
    ROW_OF_UNFILTERED_FILE,
    SnapshotManifest,
    check_files,
    lock_path,
    snapshots_folder,
)
from api.statement_table import write_statements
from api.text_keys import TextKeys
from shared.corpus import Corpus
from shared.errors import CorpusError

Vectors = NDArray[np.float32]

HASHED_ROWS = 16_384


def write_snapshot(corpus: Corpus, vectors: Vectors, *, data_dir: Path, model: str, namespace: str | None) -> Path:
    """Write a snapshot of a corpus and its vectors, shape (premises, dimension), and return its folder.

    A snapshot of the same content is used again.  The folder gets its name when all of it is on disk, so a kill leaves
    nothing that a reader would open.  Raises `CorpusError` where the vectors do not fit the corpus.
    """
    if vectors.ndim != 2 or len(vectors) != len(corpus.premises):
        raise CorpusError(
            f"There are {len(corpus.premises)} premises but vectors of shape {vectors.shape}: embed this corpus again."
        )
    digest = _snapshot_digest(corpus, vectors, model, namespace)
    with _writing(data_dir) as snapshots:
        folder = snapshots / digest
        if not _is_whole(folder):
            _discard(folder)
            unfinished = snapshots / f"{digest}{UNFINISHED}"
            unfinished.mkdir()
            _write_files(unfinished, corpus, vectors)
            _write_manifest(unfinished, corpus, vectors.shape[1], digest, model, namespace)
            _sync_folder(unfinished)
            lock_path(folder).touch()
            unfinished.rename(folder)
            sync(snapshots)
    return folder


def publish_snapshot(data_dir: Path, folder: Path) -> None:
    """Make a snapshot the one to serve: replicas that start from now on map it."""
    pointer = snapshots_folder(data_dir) / "current"
    with replacing(pointer) as unfinished:
        unfinished.write_text(f"{folder.name}\n")


def prune_snapshots(data_dir: Path, *, keep: Collection[Path]) -> list[Path]:
    """Remove the snapshots that nobody maps, except those to keep; returns what was removed."""
    with _writing(data_dir) as snapshots:
        others = [path for path in sorted(snapshots.iterdir()) if DIGEST.fullmatch(path.name) and path not in keep]
        return [folder for folder in others if _remove_unless_held(folder)]


@contextmanager
def _writing(data_dir: Path) -> Iterator[Path]:
    """The snapshots' folder while this process alone changes it; what a killed writer left is removed."""
    snapshots = snapshots_folder(data_dir)
    snapshots.mkdir(parents=True, exist_ok=True)
    with FileLock(snapshots / "write.lock"):
        for left in snapshots.glob(f"*{UNFINISHED}"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield snapshots


def _is_whole(folder: Path) -> bool:
    try:
        check_files(folder, SnapshotManifest.read(folder))
    except CorpusError:
        return False
    return True


def _remove_unless_held(folder: Path) -> bool:
    lock = os.open(lock_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _discard(folder)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _discard(folder: Path) -> None:
    """Rename first: a kill in the middle must not leave half a snapshot under its name."""
    if folder.exists():
        doomed = folder.with_name(f"{folder.name}.removed{UNFINISHED}")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _snapshot_digest(corpus: Corpus, vectors: Vectors, model: str, namespace: str | None) -> str:
    digest = hashlib.sha256(orjson.dumps([FORMAT_VERSION, corpus.digest, model, namespace, vectors.shape]))
    for start in range(0, len(vectors), HASHED_ROWS):
        digest.update(np.ascontiguousarray(vectors[start : start + HASHED_ROWS], dtype=np.float32).data)
    return digest.hexdigest()


def _write_files(folder: Path, corpus: Corpus, vectors: Vectors) -> None:
    position_of_module = {name: position for position, name in enumerate(corpus.modules)}
    premises = corpus.premises
    module_of_row = np.array([position_of_module[premise.module] for premise in premises], dtype=np.int32)
    np.save(folder / MODULE_OF_ROW_FILE, module_of_row)
    np.save(folder / ROW_OF_UNFILTERED_FILE, corpus.row_of_unfiltered)
    np.save(folder / IS_THEOREM_FILE, np.array([premise.is_theorem for premise in premises]))
    np.save(folder / IN_MODULE_SYSTEM_FILE, np.array([premise.in_module_system for premise in premises]))
    np.save(folder / IS_EXPOSED_FILE, np.array([premise.is_exposed for premise in premises]))
    write_names(folder, [premise.name for premise in premises])
    write_statements(folder, premises)
    write_ready_answer(folder / INDEXED_PREMISES_FILE, orjson.dumps(corpus.unfiltered_names))
    write_ready_answer(folder / INDEXED_MODULES_FILE, orjson.dumps(corpus.modules))
    _write_index(folder / INDEX_FILE, vectors)
    write_quantized(folder, vectors)
    TextKeys.of(premise.text for premise in premises).write(folder)
    write_term_index(folder, corpus)


def _write_index(path: Path, vectors: Vectors) -> None:
    """All rows go in by one call: faiss then takes exactly their size, while growing in steps takes up to three."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    faiss.write_index(index, str(path))


def _write_manifest(
    folder: Path, corpus: Corpus, dimension: int, digest: str, model: str, namespace: str | None
) -> None:
    manifest = SnapshotManifest(
        format_version=FORMAT_VERSION,
        digest=digest,
        corpus_digest=corpus.digest,
        revision=corpus.revision,
        rows=len(corpus.premises),
        dimension=dimension,
        unfiltered_rows=len(corpus.unfiltered_names),
        modules=len(corpus.modules),
        model=model,
        namespace=namespace,
        files={path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    )
    (folder / MANIFEST_FILE).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _sync_folder(folder: Path) -> None:
    for path in folder.iterdir():
        sync(path)
    sync(folder)
