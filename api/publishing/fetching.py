"""Fetches models, a corpus and its embeddings, unpacks and verifies them, and says where everything is."""

from dataclasses import dataclass
from pathlib import Path

from api.given_embeddings import read_origin
from api.publishing.manifest import PublishedManifest
from api.publishing.verification import verify_corpus, verify_embeddings
from shared.artifacts import (
    embeddings_path,
    find_corpus,
    find_embeddings,
    find_manifest,
    model_folder,
    open_corpus_folder,
)
from shared.corpus import Corpus, read_corpus
from shared.errors import ArtifactError
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model of the catalogue."""

    name: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedEmbeddings:
    """Embeddings that fit their corpus."""

    path: str
    rows: int
    dimension: int
    namespace: str | None
    """Of the model that made them; None: nothing says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedCorpus:
    """A corpus that was found whole."""

    repo: str
    revision: str
    archive: str
    folder: str
    """Unpacked: a start reads it here."""
    digest: str
    modules: int
    premises: int
    is_as_published: bool
    """Whether a manifest was published with it, which it fits."""
    embeddings: FetchedEmbeddings | None
    """None: there are none by the settings' model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """All of it; the JSON form is these fields."""

    models: list[FetchedModel]
    corpus: FetchedCorpus | None
    """None: none was asked for."""
    is_prepared: bool
    to_do: str | None
    """Where it is not prepared: why, and what to do."""


def fetch_models(settings: Settings) -> list[FetchedModel]:
    """Every model of the catalogue; raises `ArtifactError` where one cannot be had."""
    models = [(model, model_folder(settings.of_model(model), with_token=True)) for model in settings.catalogue()]
    return [FetchedModel(model.public_name, str(folder)) for model, folder in models]


def fetch_corpus(settings: Settings) -> FetchedCorpus:
    """The corpus of DATA_REPO at DATA_REVISION with its embeddings by the settings' model, unpacked and verified.

    Raises `ArtifactError` or `CorpusError` where something cannot be had or does not fit.
    """
    archive = find_corpus(settings, with_token=True)
    folder = open_corpus_folder(settings, archive)
    corpus = read_corpus(folder, on_broken_line=settings.corpus_on_broken_line)
    manifest = _manifest(settings)
    if manifest is not None:
        verify_corpus(archive, corpus, manifest)
    return FetchedCorpus(
        repo=settings.data_repo,
        revision=settings.data_revision,
        archive=str(archive),
        folder=str(folder),
        digest=corpus.digest,
        modules=len(corpus.modules),
        premises=len(corpus.premises),
        is_as_published=manifest is not None,
        embeddings=_embeddings(settings, corpus, manifest),
    )


def _embeddings(settings: Settings, corpus: Corpus, manifest: PublishedManifest | None) -> FetchedEmbeddings | None:
    path = find_embeddings(settings, with_token=True)
    if path is None:
        return None
    in_repo = embeddings_path(settings.model_id, settings.model_revision)
    rows, dimension = verify_embeddings(path, in_repo, corpus, manifest)
    return FetchedEmbeddings(path=str(path), rows=rows, dimension=dimension, namespace=read_origin(path).namespace)


def _manifest(settings: Settings) -> PublishedManifest | None:
    """None where none was published, or offline where none was fetched."""
    from shared.hub import is_offline

    try:
        path = find_manifest(settings, with_token=True)
    except ArtifactError:
        if is_offline():
            return None
        raise
    return PublishedManifest.read(Path(path)) if path else None
