"""Holds what was fetched against what was published, and against itself: a sentence for whatever does not fit."""

from pathlib import Path

from api.given_embeddings import check_origin, load_embeddings
from api.publishing.manifest import PublishedManifest
from shared.archive import file_digest
from shared.artifacts import ARCHIVE_NAME
from shared.corpus import Corpus
from shared.errors import ArtifactError, CorpusError


def verify_corpus(archive: Path, corpus: Corpus, manifest: PublishedManifest) -> None:
    """Raise `ArtifactError` or `CorpusError` unless archive and corpus are those that the manifest speaks of."""
    _verify_file(archive, ARCHIVE_NAME, manifest)
    found = (corpus.revision, corpus.digest)
    published = (manifest.revision, manifest.corpus_digest)
    if found != published:
        raise CorpusError(
            f"The archive {archive} holds the corpus {found[1]} of {found[0]}, but was published as {published[1]} of "
            f"{published[0]}: whoever published it should publish it again, with this version of the program."
        )


def verify_embeddings(path: Path, in_repo: str, corpus: Corpus, manifest: PublishedManifest | None) -> tuple[int, int]:
    """Check that embeddings are whole and fit their corpus, and the manifest where there is one; their shape.

    Raises `ArtifactError` or `CorpusError` where they do not.
    """
    entry = next((entry for entry in manifest.embeddings if entry.path == in_repo), None) if manifest else None
    if manifest is not None:
        _verify_file(path, in_repo, manifest)
    check_origin(path, corpus)
    vectors = load_embeddings(path, rows=len(corpus.premises), dimension=entry.dimension if entry else None)
    rows, dimension = vectors.shape
    return rows, dimension


def _verify_file(path: Path, in_repo: str, manifest: PublishedManifest) -> None:
    published = manifest.find_file(in_repo)
    if published is None:
        return
    size, found = path.stat().st_size, file_digest(path)
    if (size, found) != (published.size_bytes, published.sha256):
        raise ArtifactError(
            f"{path} has {size:,} bytes and the SHA-256 {found[:16]}…, but {published.size_bytes:,} bytes and "
            f"{published.sha256[:16]}… were published: remove it and fetch it again."
        )
