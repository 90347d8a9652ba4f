"""Decides what a publication sends and removes; nothing here talks to the hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import orjson

from api.corpus_review.report import Counts, EmbeddingsReport
from api.given_embeddings import EmbeddingsOrigin
from api.publishing.manifest import FORMAT_VERSION, PublishedEmbeddings, PublishedFile, PublishedManifest
from shared.archive import file_digest
from shared.artifacts import ARCHIVE_NAME, EMBEDDINGS_FOLDER, MANIFEST_NAME, embeddings_path
from shared.hub_upload import FileToSend

PROGRAM = "lean-premise-server"


@dataclass(frozen=True, slots=True)
class PublishedCorpus:
    """A corpus without faults, and the archive of it that is sent."""

    revision: str
    digest: str
    counts: Counts
    archive: Path


@dataclass(frozen=True, slots=True)
class GivenEmbeddings:
    """Embeddings that fit the corpus, and the model they are published as."""

    report: EmbeddingsReport
    model: str
    model_revision: str


@dataclass(frozen=True, slots=True)
class Publication:
    """What one commit brings."""

    files: list[FileToSend]
    removed: list[str]
    """Embeddings that are there and belong to another corpus."""
    manifest: PublishedManifest


def plan_publication(
    corpus: PublishedCorpus,
    embeddings: Sequence[GivenEmbeddings],
    *,
    present: Sequence[str],
    earlier: PublishedManifest | None,
) -> Publication:
    """`present` are the paths that the branch has, `earlier` what it says of them.

    Embeddings of the very same corpus stay, so that those of several models can be published one after another;
    those of another corpus would be taken for this one's and go.
    """
    vectors = [_send_embeddings(given, corpus) for given in embeddings]
    sent = [FileToSend(ARCHIVE_NAME, corpus.archive), *(file for _, files in vectors for file in files)]
    kept = _kept(corpus, earlier, present, sent)
    described = sorted([*kept, *map(_describe, sent)], key=lambda file: file.path)
    paths = {file.path for file in described}
    entries = [*(earlier.embeddings if earlier and kept else []), *(entry for entry, _ in vectors)]
    by_path = {entry.path: entry for entry in entries if entry.path in paths}  # of two for one path the new one
    manifest = _manifest(corpus, described, [by_path[path] for path in sorted(by_path)])
    if earlier is not None and earlier.says_the_same_as(manifest):
        manifest = earlier  # a repetition then changes nothing at all
    removed = [path for path in present if path.startswith(f"{EMBEDDINGS_FOLDER}/") and path not in paths]
    return Publication([*sent, FileToSend(MANIFEST_NAME, manifest.as_bytes())], sorted(removed), manifest)


def _kept(
    corpus: PublishedCorpus,
    earlier: PublishedManifest | None,
    present: Sequence[str],
    sent: Sequence[FileToSend],
) -> list[PublishedFile]:
    """What stays as it is: files of the same corpus that are not sent anew."""
    if earlier is None or earlier.corpus_digest != corpus.digest:
        return []
    sent_paths = {file.path for file in sent}
    return [file for file in earlier.files if file.path in present and file.path not in sent_paths]


def _manifest(
    corpus: PublishedCorpus, files: list[PublishedFile], embeddings: list[PublishedEmbeddings]
) -> PublishedManifest:
    return PublishedManifest(
        format_version=FORMAT_VERSION,
        revision=corpus.revision,
        corpus_digest=corpus.digest,
        modules=corpus.counts.modules,
        declarations=corpus.counts.declarations,
        premises=corpus.counts.premises,
        files=files,
        embeddings=embeddings,
        published_by=f"{PROGRAM} {version(PROGRAM)}",
        published_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _send_embeddings(given: GivenEmbeddings, corpus: PublishedCorpus) -> tuple[PublishedEmbeddings, list[FileToSend]]:
    report, path = given.report, embeddings_path(given.model, given.model_revision)
    entry = PublishedEmbeddings(
        path, given.model, given.model_revision, report.namespace, report.rows, report.dimension, report.dtype
    )
    origin = EmbeddingsOrigin(corpus.digest, corpus.revision, report.namespace)
    beside = orjson.dumps(origin, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return entry, [FileToSend(path, Path(report.path)), FileToSend(f"{path.removesuffix('.npy')}.json", beside)]


def _describe(file: FileToSend) -> PublishedFile:
    if isinstance(file.content, Path):
        return PublishedFile(file.path, file.content.stat().st_size, file_digest(file.content))
    return PublishedFile(file.path, len(file.content), sha256(file.content).hexdigest())
