"""Reviews a corpus as a whole: the files beside the declarations, the declarations, import lists, given embeddings."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from api.corpus_review.declarations import DeclarationReview, DeclarationTally
from api.corpus_review.findings import Findings, Kind
from api.corpus_review.imports import ImportReview, ImportsReport
from api.corpus_review.report import (
    CorpusReport,
    Counts,
    EmbeddingsReport,
    FilterReport,
    LeftOut,
    TextLengths,
)
from api.given_embeddings import check_origin, load_embeddings
from shared.archive import file_digest, read_folder_of_archive
from shared.corpus import Corpus, Premise, read_denied_names, read_revision
from shared.corpus_files import (
    BLACKLIST_FILE,
    DECLARATIONS_FOLDER,
    IMPORTS_FOLDER,
    LINES_SUFFIX,
    MODULES_FILE,
    REVISION_FILE,
    declaration_files,
    parse_object,
    read_lines,
    string_field,
)
from shared.errors import CorpusError

ProgressBar = Callable[[str, int, str], "tqdm[NoReturn]"]
"""A bar with a label, a total and the unit of what is counted."""

FREQUENT = 8
"""How many of the most frequent exceptions of a filter are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What to look at, and how closely."""

    named: str
    """What the corpus is called in the report."""
    folder: Path
    archive: Path | None = None
    """What the folder was unpacked from: import lists are still in there."""
    embeddings: Path | None = None
    max_text_characters: int
    progress: ProgressBar
    most_of_a_kind: int | None = None
    """Findings of a kind that are listed; None: all."""


def inspect_corpus(inspection: Inspection) -> CorpusReport:
    """Review a corpus; whatever is wrong with it is a finding of the report."""
    started = time.monotonic()
    findings = Findings(inspection.most_of_a_kind)
    revision = _revision(inspection.folder, findings)
    modules = _modules(inspection.folder, findings)
    review = _declarations(inspection, modules, findings)
    imports = _imports(inspection, modules, findings)
    corpus = None
    if findings.count("error") == 0 and revision is not None:
        corpus = review.gathered.as_corpus(revision, modules)
    embeddings = _embeddings(inspection.embeddings, corpus, findings)
    return CorpusReport(
        corpus=inspection.named,
        folder=str(inspection.folder),
        revision=revision,
        digest=corpus.digest if corpus else None,
        archive_sha256=file_digest(inspection.archive) if inspection.archive else None,
        can_be_served=findings.count("error") == 0,
        counts=_counts(modules, review),
        left_out=_left_out(review),
        text_characters=_lengths(review.gathered.premises, review.tally),
        imports=imports,
        embeddings=embeddings,
        finding_counts=dict(findings.counts),
        findings=findings.kept,
        seconds=round(time.monotonic() - started, 1),
    )


def _revision(folder: Path, findings: Findings) -> str | None:
    try:
        return read_revision(folder)
    except CorpusError as error:
        findings.add(_kind_of(folder / REVISION_FILE), REVISION_FILE, None, str(error))
        return None


def _modules(folder: Path, findings: Findings) -> list[str]:
    try:
        lines = read_lines(folder / MODULES_FILE)
    except CorpusError as error:
        findings.add(_kind_of(folder / MODULES_FILE), MODULES_FILE, None, str(error))
        return []
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            name = string_field(parse_object(line), "name")
        except ValueError as error:
            findings.add("broken-line", MODULES_FILE, number, f"{error}.")
            continue
        if (first := first_lines.setdefault(name, number)) != number:
            findings.add("duplicate-module", MODULES_FILE, number, f"{name} is listed before, in line {first}.")
    return sorted(first_lines)


def _kind_of(path: Path) -> Kind:
    return "unusable-file" if path.exists() else "missing-file"


def _denied_names(folder: Path, findings: Findings) -> frozenset[str]:
    if not (folder / BLACKLIST_FILE).exists():
        findings.add("unused-blacklist", BLACKLIST_FILE, None, "the file is missing: no premise is left out by name.")
        return frozenset()
    try:
        return read_denied_names(folder)
    except CorpusError as error:
        findings.add("unusable-file", BLACKLIST_FILE, None, str(error))
        return frozenset()


def _declarations(inspection: Inspection, modules: Sequence[str], findings: Findings) -> DeclarationReview:
    folder, denied_names = inspection.folder, _denied_names(inspection.folder, findings)
    review = DeclarationReview(modules, denied_names, findings, max_text_characters=inspection.max_text_characters)
    try:
        paths = declaration_files(folder)
    except CorpusError as error:
        findings.add("missing-file", DECLARATIONS_FOLDER, None, str(error))
        return review
    with inspection.progress("Declarations", len(paths), " files") as bar:
        review.take_files(paths, bar.update)
    if not review.gathered.premises:
        findings.add("no-premises", DECLARATIONS_FOLDER, None, "no declaration survives the filters.")
    _tell_others(folder, denied_names, review, findings)
    return review


def _tell_others(folder: Path, denied_names: frozenset[str], review: DeclarationReview, findings: Findings) -> None:
    for path in sorted((folder / DECLARATIONS_FOLDER).iterdir()):
        if not path.name.endswith(LINES_SUFFIX):
            findings.add("unread-file", f"{DECLARATIONS_FOLDER}/{path.name}", None, f"only *{LINES_SUFFIX} are read.")
    if denied_names and not review.used_blacklist():
        findings.add("unused-blacklist", BLACKLIST_FILE, None, "none of its names is declared in this corpus.")


def _imports(inspection: Inspection, modules: Sequence[str], findings: Findings) -> ImportsReport:
    review = ImportReview(modules, findings)
    with inspection.progress("Imports", len(modules), " files") as bar:
        return review.take_files(_told(_import_files(inspection), bar))


def _import_files(inspection: Inspection) -> Iterable[tuple[str, bytes]]:
    if inspection.archive:
        return read_folder_of_archive(inspection.archive, IMPORTS_FOLDER)
    folder = inspection.folder / IMPORTS_FOLDER
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return ((path.name, path.read_bytes()) for path in paths if path.is_file())


def _told(files: Iterable[tuple[str, bytes]], bar: "tqdm[NoReturn]") -> Iterable[tuple[str, bytes]]:
    for file in files:
        bar.update()
        yield file


def _embeddings(path: Path | None, corpus: Corpus | None, findings: Findings) -> EmbeddingsReport | None:
    """None where there are none, or they do not fit, or there is no corpus to hold them against."""
    if path is None or corpus is None:
        return None
    try:
        origin = check_origin(path, corpus)
        load_embeddings(path, rows=len(corpus.premises), dimension=None)
    except CorpusError as error:
        findings.add("unfit-embeddings", str(path), None, str(error))
        return None
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    rows, dimension = array.shape
    return EmbeddingsReport(
        str(path), rows, dimension, str(array.dtype), origin.namespace, origin.corpus_digest is not None
    )


def _counts(modules: Sequence[str], review: DeclarationReview) -> Counts:
    premises = review.gathered.premises
    return Counts(
        modules=len(modules),
        modules_with_premises=len({premise.module for premise in premises}),
        declarations=len(review.gathered.unfiltered_names),
        declarations_with_doc=review.tally.with_doc,
        premises=len(premises),
        with_doc=sum(premise.text.startswith("/--") for premise in premises),
        in_module_system=sum(premise.in_module_system for premise in premises),
        exposed=sum(premise.is_exposed for premise in premises),
        by_kind=dict(Counter(premise.kind for premise in premises).most_common()),
        by_library=dict(Counter(premise.module.split(".")[0] for premise in premises).most_common()),
    )


def _left_out(review: DeclarationReview) -> LeftOut:
    tally = review.tally
    return LeftOut(
        total=tally.dropped.total(),
        by_first_reason=dict(tally.dropped.most_common()),
        filters={
            name: FilterReport(effect.matches, effect.alone, dict(effect.frequent.most_common(FREQUENT)))
            for name, effect in tally.filters.items()
        },
        blacklist_names=len(review.denied_names),
        blacklist_names_declared=len(review.used_blacklist()),
    )


def _lengths(premises: Sequence[Premise], tally: DeclarationTally) -> TextLengths | None:
    if not premises:
        return None
    lengths = np.fromiter((len(premise.text) for premise in premises), dtype=np.int64, count=len(premises))
    half, most, nearly_all = np.percentile(lengths, [50, 90, 99], method="inverted_cdf").tolist()
    return TextLengths(round(float(lengths.mean()), 1), half, most, nearly_all, int(lengths.max()), tally.longest_place)
