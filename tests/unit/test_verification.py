from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from api.publishing.manifest import FORMAT_VERSION, PublishedEmbeddings, PublishedFile, PublishedManifest
from api.publishing.verification import verify_corpus, verify_embeddings
from shared.archive import file_digest
from shared.corpus import Corpus, read_corpus
from shared.errors import ArtifactError, CorpusError
from tests.corpora import pack_corpus, unit_vectors, write_plain_corpus

IN_REPO = "embeddings/encoder-v2.npy"


def corpus_with_archive(tmp_path: Path) -> tuple[Corpus, Path]:
    folder = write_plain_corpus(tmp_path / "c")
    return read_corpus(folder), pack_corpus(folder, tmp_path / "premises.tar.gz")


def manifest_of(corpus: Corpus, archive: Path, vectors: Path | None = None) -> PublishedManifest:
    files = [PublishedFile("premises.tar.gz", archive.stat().st_size, file_digest(archive))]
    if vectors is not None:
        files.append(PublishedFile(IN_REPO, vectors.stat().st_size, file_digest(vectors)))
    return PublishedManifest(
        format_version=FORMAT_VERSION,
        revision=corpus.revision,
        corpus_digest=corpus.digest,
        modules=1,
        declarations=3,
        premises=3,
        files=files,
        embeddings=[PublishedEmbeddings(IN_REPO, "me/encoder", "v2", None, 3, 8, "float32")],
        published_by="a test",
        published_at="2026-01-01T00:00:00+00:00",
    )


def write_vectors(tmp_path: Path, rows: int = 3, dimension: int = 8) -> Path:
    path = tmp_path / "v.npy"
    np.save(path, unit_vectors(rows, dimension))
    return path


def test_what_is_as_published_passes(tmp_path: Path) -> None:
    corpus, archive = corpus_with_archive(tmp_path)
    vectors = write_vectors(tmp_path)
    manifest = manifest_of(corpus, archive, vectors)
    verify_corpus(archive, corpus, manifest)
    assert verify_embeddings(vectors, IN_REPO, corpus, manifest) == (3, 8)
    assert verify_embeddings(vectors, IN_REPO, corpus, None) == (3, 8)


def test_an_archive_of_other_bytes_than_published_is_refused(tmp_path: Path) -> None:
    corpus, archive = corpus_with_archive(tmp_path)
    manifest = manifest_of(corpus, archive)
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match="remove it and fetch it again"):
        verify_corpus(archive, corpus, manifest)


@pytest.mark.parametrize("fields", [{"corpus_digest": "0" * 64}, {"revision": "v9"}])
def test_a_corpus_that_was_published_as_another_is_refused(tmp_path: Path, fields: dict[str, str]) -> None:
    corpus, archive = corpus_with_archive(tmp_path)
    with pytest.raises(CorpusError, match="but was published as"):
        verify_corpus(archive, corpus, replace(manifest_of(corpus, archive), **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(("rows", "dimension", "said"), [(2, 8, "have 2 rows"), (3, 7, "have 7 numbers a row")])
def test_embeddings_of_another_shape_are_refused(tmp_path: Path, rows: int, dimension: int, said: str) -> None:
    corpus, archive = corpus_with_archive(tmp_path)
    vectors = write_vectors(tmp_path, rows, dimension)
    with pytest.raises(CorpusError, match=said):
        verify_embeddings(vectors, IN_REPO, corpus, manifest_of(corpus, archive, vectors))


def test_embeddings_of_other_bytes_than_published_are_refused(tmp_path: Path) -> None:
    corpus, archive = corpus_with_archive(tmp_path)
    vectors = write_vectors(tmp_path)
    manifest = manifest_of(corpus, archive, vectors)
    np.save(vectors, unit_vectors(3, seed=1))
    with pytest.raises(ArtifactError, match="were published"):
        verify_embeddings(vectors, IN_REPO, corpus, manifest)


def test_embeddings_that_say_they_are_of_another_corpus_are_refused(tmp_path: Path) -> None:
    corpus, _ = corpus_with_archive(tmp_path)
    vectors = write_vectors(tmp_path)
    vectors.with_suffix(".json").write_bytes(orjson.dumps({"corpus_digest": "0" * 64}))
    with pytest.raises(CorpusError, match="corpus digest"):
        verify_embeddings(vectors, IN_REPO, corpus, None)
