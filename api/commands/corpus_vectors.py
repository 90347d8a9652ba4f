"""What `premises embed` and `premises warm` do, and tell."""

import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from api.client_spellings import digest_of_texts, read_spellings
from api.commands.child_process import INTERRUPTED
from api.commands.corpus_argument import NamedCorpus, open_named_corpus
from api.commands.output import progress_bar
from api.commands.queue_access import run_with_queue
from api.embedding_side import EmbeddingSide, running_embedding_side, wait_for_worker
from api.file_replacement import regular_target, replacing
from api.given_embeddings import load_embeddings, read_origin
from api.known_vectors import KnownVectors
from api.text_keys import TextKeys
from api.uploaded_texts import read_uploads
from api.vector_computation import TextSet, VectorCounts, compute_vectors
from api.vector_folder import VectorFolder, vectors_root, write_origin
from api.vector_recognition import are_of_this_model
from shared.corpus import Corpus, read_corpus
from shared.errors import ArtifactError, CorpusError, SettingsError
from shared.messages import Heartbeat
from shared.settings import Settings

SMALL_CORPUS_PREMISES = 20_000
"""So many take a project's owner minutes at most, so that its spellings are computed without being asked for."""

SPELLINGS = "spellings"


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What `premises embed` was asked for."""

    corpus: str | None
    output: Path | None
    reuse: Sequence[tuple[str, str]]
    spellings: bool | None
    """None: for small corpora."""


@dataclass(frozen=True, slots=True)
class WarmRequest:
    """What `premises warm` was asked for."""

    corpus: str | None
    texts: Sequence[Path]


@dataclass(frozen=True, slots=True)
class VectorReport:
    """What a command brought about."""

    corpus: str | None
    revision: str | None
    corpus_digest: str | None
    model: str
    namespace: str
    dimension: int
    premises: VectorCounts | None
    """The corpus's own texts; None where they were not asked for."""
    spellings: VectorCounts | None
    """Texts as clients upload them; None likewise."""
    vectors: str | None
    """File with the vectors of the premises."""
    output: str | None


@dataclass(frozen=True, slots=True)
class OpenCorpus:
    """A corpus that was named, read."""

    named: NamedCorpus
    corpus: Corpus

    @classmethod
    def of(cls, argument: str | None, settings: Settings) -> "OpenCorpus":
        """Raises what `open_named_corpus` and `read_corpus` do."""
        named = open_named_corpus(argument, settings)
        return cls(named, read_corpus(named.folder, on_broken_line=settings.corpus_on_broken_line))

    def spellings(self) -> list[str]:
        """As clients upload its premises."""
        return read_spellings(self.named.folder, self.corpus)


def embed(request: EmbedRequest, settings: Settings) -> VectorReport:
    """Raises `SettingsError`, `ArtifactError`, `CorpusError`, `NotReadyError` or `ChildFailedError`."""
    if request.output is not None:
        _check_output(request.output)
    opened = OpenCorpus.of(request.corpus, settings)
    others = [(OpenCorpus.of(corpus, settings), Path(npy)) for corpus, npy in request.reuse]
    return _run(settings, partial(_embed, request, opened, others))


def _run(settings: Settings, work: Callable[[Settings], Awaitable[VectorReport]]) -> VectorReport:
    """With a queue; Ctrl-C ends the program with a word on where the same command goes on."""
    try:
        return run_with_queue(settings, work)
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted. The vectors computed so far are kept in {vectors_root(settings.data_dir)}: the same command "
            "goes on there.",
            err=True,
        )
        sys.exit(INTERRUPTED)


def _check_output(output: Path) -> None:
    """Before anything is computed for it."""
    if output.suffix != ".npy":
        raise SettingsError(f"--output {output} does not end in .npy: name it so, for EMBEDDINGS reads such.")
    for path in (output, output.with_suffix(".json")):
        regular_target(path)


async def _embed(
    request: EmbedRequest, opened: OpenCorpus, others: Sequence[tuple[OpenCorpus, Path]], settings: Settings
) -> VectorReport:
    corpus = opened.corpus
    wants_spellings = request.spellings
    if wants_spellings is None:
        wants_spellings = len(corpus.premises) <= SMALL_CORPUS_PREMISES
    async with running_embedding_side(settings) as side:
        worker = await wait_for_worker(side)
        for other, npy in others:
            side.embeddings.cache.known.add(await known_of_pair(other.corpus, npy, worker, side))
        folder = VectorFolder.of_corpus(settings.data_dir, corpus.digest, worker.namespace)
        _, counts = await compute_vectors(TextSet.of_corpus(corpus), folder, side, worker, progress_bar)
        spelled = None
        if wants_spellings:
            own = {premise.text for premise in corpus.premises}
            texts = [text for text in opened.spellings() if text not in own]
            spelled = await _compute_texts(texts, corpus.revision, settings, side, worker)
    if request.output:
        write_output(folder, request.output)
    return _report(opened, settings, worker, counts, spelled, folder.vectors, request.output)


def warm(request: WarmRequest, settings: Settings) -> VectorReport:
    """Raises the same."""
    opened = OpenCorpus.of(request.corpus, settings) if request.corpus or not request.texts else None
    texts = list(dict.fromkeys(upload.text for path in files_of(request.texts) for upload in read_uploads(path)))
    return _run(settings, partial(_warm, opened, texts))


async def _warm(opened: OpenCorpus | None, texts: list[str], settings: Settings) -> VectorReport:
    async with running_embedding_side(settings) as side:
        worker = await wait_for_worker(side)
        if opened:
            texts = list(dict.fromkeys([*texts, *opened.spellings()]))
            if side.embeddings.cache.known.has(worker.namespace, opened.corpus.digest):
                own = {premise.text for premise in opened.corpus.premises}
                texts = [text for text in texts if text not in own]
        revision = opened.corpus.revision if opened else ""
        spelled = await _compute_texts(texts, revision, settings, side, worker)
    return _report(opened, settings, worker, None, spelled, None, None)


async def _compute_texts(
    texts: Sequence[str], revision: str, settings: Settings, side: EmbeddingSide, worker: Heartbeat
) -> VectorCounts:
    if not texts:
        return VectorCounts(0)
    digest = digest_of_texts(texts)
    folder = VectorFolder.of_spellings(settings.data_dir, digest, worker.namespace)
    wanted = TextSet(texts, digest, revision, SPELLINGS)
    _, counts = await compute_vectors(wanted, folder, side, worker, progress_bar)
    return counts


async def known_of_pair(corpus: Corpus, npy: Path, worker: Heartbeat, side: EmbeddingSide) -> KnownVectors:
    """A corpus and its vectors, given together; raises `CorpusError` unless the worker's model made them.

    Where nothing says so, the worker embeds some of the texts and compares.
    """
    origin = read_origin(npy)
    if origin.namespace not in (None, worker.namespace):
        raise CorpusError(
            f"The vectors {npy} are made in the namespace {origin.namespace}, the worker's is {worker.namespace}: "
            "give vectors of this model, or leave --reuse out."
        )
    if origin.corpus_digest not in (None, corpus.digest):
        raise CorpusError(f"The vectors {npy} are not those of the corpus given with them: check --reuse.")
    texts = [premise.text for premise in corpus.premises]
    vectors = load_embeddings(npy, rows=len(texts), dimension=worker.dimension)
    if origin.namespace is None and not await are_of_this_model(vectors, texts, side.embeddings):
        raise CorpusError(
            f"Nothing says which model made the vectors {npy}, and the worker does not give the same: give vectors of "
            "this model, or leave --reuse out."
        )
    return KnownVectors(worker.namespace, corpus.digest, TextKeys.of(texts), vectors)


def write_output(folder: VectorFolder, output: Path) -> None:
    """Copy finished vectors, and what they are of, to where the caller wants them."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as unfinished:
            shutil.copyfile(folder.vectors, unfinished)
        write_origin(output, read_origin(folder.vectors))
    except OSError as error:
        raise ArtifactError(f"{output} cannot be written ({error.strerror}): name another place.") from error


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and all files of folders."""
    return [
        file
        for path in paths
        for file in (sorted(inside for inside in path.iterdir() if inside.is_file()) if path.is_dir() else [path])
    ]


def _report(
    opened: OpenCorpus | None,
    settings: Settings,
    worker: Heartbeat,
    premises: VectorCounts | None,
    spellings: VectorCounts | None,
    vectors: Path | None,
    output: Path | None,
) -> VectorReport:
    return VectorReport(
        corpus=opened.named.name if opened else None,
        revision=opened.corpus.revision if opened else None,
        corpus_digest=opened.corpus.digest if opened else None,
        model=settings.model_id,
        namespace=worker.namespace,
        dimension=worker.dimension,
        premises=premises,
        spellings=spellings,
        vectors=str(vectors) if vectors else None,
        output=str(output) if output else None,
    )


def report_lines(report: VectorReport) -> Iterator[str]:
    """The report as people read it."""
    if report.corpus:
        yield f"corpus      {report.corpus}, revision {report.revision}, digest {(report.corpus_digest or '')[:12]}"
    yield f"model       {report.model}, {report.dimension} numbers a vector, namespace {report.namespace[:12]}"
    if report.premises:
        yield f"premises    {_describe(report.premises)}"
    if report.spellings:
        yield f"spellings   {_describe(report.spellings)}"
    if report.vectors:
        yield f"kept in     {report.vectors}"
    if report.output:
        yield f"written to  {report.output}"


def _describe(counts: VectorCounts) -> str:
    sources = {
        "were there": counts.already_there,
        "from other corpora": counts.reused,
        "from Redis": counts.cached,
        "embedded": counts.embedded,
    }
    came = ", ".join(f"{count:,} {source}" for source, count in sources.items() if count) or "nothing to do"
    speed = (
        f" ({counts.texts_per_second:,.0f} texts/s, {counts.tokens_per_second:,.0f} tokens/s, {counts.seconds:,.0f} s)"
        if counts.embedded
        else ""
    )
    return f"{counts.texts:,}: {came}{speed}"
