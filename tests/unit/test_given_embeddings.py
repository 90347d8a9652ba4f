import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pytest

from api.commands import prepare
from api.embedding_client import Embedded, EmbeddingOrder, TextGroup
from api.given_embeddings import check_embeddings, load_embeddings
from api.snapshot import SnapshotManifest
from api.snapshot_writer import write_snapshot
from shared.corpus import Corpus, read_corpus
from shared.embedding_cache import Vector
from shared.errors import CorpusError, NotReadyError
from shared.messages import Heartbeat
from shared.settings import Settings
from tests.corpora import unit_vectors, write_plain_corpus

DIMENSION = 8


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return read_corpus(write_plain_corpus(tmp_path / "corpus", 3))


def heartbeat() -> Heartbeat:
    return Heartbeat("w", "m", "space", DIMENSION, 256, "cpu", "float32", "float32", 0.3, 1000.0, [], 0.0)


@dataclass
class Workers:
    """What the queue answers: these vectors, or that nobody is there."""

    vectors: Vector | None

    async def embed(self, groups: Sequence[TextGroup], order: EmbeddingOrder) -> Embedded:
        if self.vectors is None:
            raise NotReadyError("Nobody is there.")
        return Embedded([self.vectors], [set()], 0, len(groups[0].texts), 1)


def snapshot_of_given(path: Path, state: Path, corpus: Corpus, workers: Workers) -> Path:
    settings = Settings(data_dir=state)
    return asyncio.run(prepare._make_snapshot_of_given(settings, path, corpus, heartbeat(), workers))


@pytest.mark.parametrize(
    ("workers", "namespace"),
    [
        (Workers(unit_vectors(3, DIMENSION) + np.float32(1e-6)), "space"),
        (Workers(unit_vectors(3, DIMENSION).astype(np.float16).astype(np.float32)), None),
        (Workers(unit_vectors(3, DIMENSION, seed=1)), None),
        (Workers(None), None),
    ],
)
def test_vectors_of_unknown_origin_are_the_models_where_the_worker_gives_the_same(
    tmp_path: Path, corpus: Corpus, workers: Workers, namespace: str | None
) -> None:
    np.save(tmp_path / "given.npy", unit_vectors(3, DIMENSION))
    folder = snapshot_of_given(tmp_path / "given.npy", tmp_path / "state", corpus, workers)
    assert SnapshotManifest.read(folder).namespace == namespace


@pytest.mark.parametrize("changes", [False, True])
def test_embeddings_that_change_while_they_are_read_are_refused(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, *, changes: bool
) -> None:
    path, state, workers = tmp_path / "given.npy", tmp_path / "state", Workers(None)
    np.save(path, unit_vectors(3, DIMENSION))

    def write_and_change(corpus: Corpus, vectors: np.typing.NDArray[np.float32], **options: object) -> Path:
        folder = write_snapshot(corpus, vectors, **options)  # type: ignore[arg-type]
        if changes:
            np.save(path, unit_vectors(3, DIMENSION, seed=1))
        return folder

    monkeypatch.setattr(prepare, "write_snapshot", write_and_change)
    if not changes:
        assert snapshot_of_given(path, state, corpus, workers).is_dir()
        return
    with pytest.raises(CorpusError, match="changed while they were read"):
        snapshot_of_given(path, state, corpus, workers)
    assert not [entry for entry in (state / "snapshots").iterdir() if entry.is_dir()]


def test_half_precision_embeddings_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    vectors = unit_vectors(20_000, DIMENSION).astype(np.float16)
    np.save(path, vectors)
    loaded = load_embeddings(path, rows=20_000, dimension=None)
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, vectors)


def test_embeddings_in_column_order_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.asfortranarray(unit_vectors(5, DIMENSION)))
    loaded = load_embeddings(tmp_path / "v.npy", rows=5, dimension=DIMENSION)
    assert np.array_equal(loaded, unit_vectors(5, DIMENSION))
    assert loaded.flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (unit_vectors(4), "4 rows, the corpus has 3 premises"),
        (unit_vectors(3, 9), "9 numbers a row, the model's vectors have 8"),
        (unit_vectors(3).astype(np.float64), "hold float64"),
        (unit_vectors(3)[0], r"of shape \(8,\)"),
        (unit_vectors(3) * np.array([[1], [1], [2]], dtype=np.float32), r"Row 2 .* length 2"),
        (unit_vectors(3) * np.array([[1], [np.nan], [1]], dtype=np.float32), "Row 1 .* length nan"),
        (np.array([["a"]], dtype=object), "no whole .npy"),
    ],
)
def test_embeddings_that_do_not_fit_are_named(
    tmp_path: Path, array: np.typing.NDArray[np.generic], problem: str
) -> None:
    path = tmp_path / "v.npy"
    np.save(path, array)
    with pytest.raises(CorpusError, match=problem):
        load_embeddings(path, rows=3, dimension=DIMENSION)


def test_cut_or_foreign_embeddings_files_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", unit_vectors(3, DIMENSION))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-4])
    (tmp_path / "empty.npy").touch()
    np.savez(tmp_path / "several.npz", unit_vectors(3, DIMENSION))
    for name in ("cut.npy", "empty.npy", "several.npz"):
        with pytest.raises(CorpusError, match=name):
            load_embeddings(tmp_path / name, rows=3, dimension=DIMENSION)


def test_embeddings_of_unknown_origin_are_used_with_a_warning(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3, DIMENSION))
    vectors, namespace = check_embeddings(tmp_path / "v.npy", corpus=corpus, worker=heartbeat())
    assert vectors.shape == (3, DIMENSION)
    assert namespace is None
    assert "nothing says which model made" in caplog.text


def test_embeddings_of_the_same_origin_keep_their_namespace(corpus: Corpus, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3, DIMENSION))
    origin = {"corpus_digest": corpus.digest, "revision": corpus.revision, "namespace": "space"}
    (tmp_path / "v.json").write_bytes(orjson.dumps(origin))
    assert check_embeddings(tmp_path / "v.npy", corpus=corpus, worker=heartbeat())[1] == "space"


@pytest.mark.parametrize(
    ("origin", "problem"),
    [
        (b'{"corpus_digest": "0"}', "corpus digest 0"),
        (b'{"revision": "v1"}', "revision v1, not v4.0.0"),
        (b'{"namespace": "other"}', "model namespace other, not space"),
        (b"[]", "cannot be read"),
        (b"{", "cannot be read"),
    ],
)
def test_embeddings_of_another_origin_are_refused(corpus: Corpus, tmp_path: Path, origin: bytes, problem: str) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(3, DIMENSION))
    (tmp_path / "v.json").write_bytes(origin)
    with pytest.raises(CorpusError, match=problem):
        check_embeddings(tmp_path / "v.npy", corpus=corpus, worker=heartbeat())
