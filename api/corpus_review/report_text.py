"""A review as people read it."""

from collections.abc import Iterable, Iterator, Mapping

from api.corpus_review.findings import SEVERITIES, Finding, Severity
from api.corpus_review.report import CorpusReport, Counts, EmbeddingsReport, LeftOut, TextLengths

ORDER: tuple[Severity, ...] = ("error", "warning", "note")
MOST_LISTED = 8


def report_lines(report: CorpusReport) -> Iterator[str]:
    """The report, line by line; the verdict comes last, where a terminal still shows it."""
    yield f"{report.corpus}: revision {report.revision or 'unknown'}"
    yield f"  folder           {report.folder}"
    yield f"  digest           {report.digest or 'none: it cannot be read as a whole'}"
    if report.archive_sha256:
        yield f"  archive sha256   {report.archive_sha256}"
    yield from _count_lines(report.counts)
    if report.text_characters:
        yield _length_line(report.text_characters)
    yield from _left_out_lines(report.left_out)
    imports = report.imports
    outside = f"{imports.modules_outside:,} modules outside the corpus"
    yield f"  import lists     {imports.files:,} files, {imports.lines:,} lines, {outside} (a server reads none)"
    if report.embeddings:
        yield _embeddings_line(report.embeddings)
    yield from _finding_lines(report)
    yield _verdict(report)


def _count_lines(counts: Counts) -> Iterator[str]:
    yield f"  modules          {counts.modules:,}, {counts.modules_with_premises:,} of them with premises"
    yield f"  declarations     {counts.declarations:,}, {counts.declarations_with_doc:,} with documentation"
    yield f"  premises         {counts.premises:,} after the filters, {counts.with_doc:,} with documentation"
    yield f"    by kind        {listed(counts.by_kind)}"
    yield f"    by library     {listed(counts.by_library)}"
    yield f"    module system  {counts.in_module_system:,} in it, {counts.exposed:,} exposed"


def _length_line(lengths: TextLengths) -> str:
    return (
        f"  characters       {lengths.mean:,.0f} a text on average; half up to {lengths.up_to_50_percent:,}, "
        f"90 % up to {lengths.up_to_90_percent:,}, 99 % up to {lengths.up_to_99_percent:,}, "
        f"longest {lengths.longest:,} ({lengths.longest_place})"
    )


def _left_out_lines(left_out: LeftOut) -> Iterator[str]:
    yield f"  left out         {left_out.total:,} declarations (a declaration may meet several filters)"
    for name, effect in left_out.filters.items():
        of_what = f": {listed(effect.frequent)}" if effect.frequent else ""
        yield f"    {name:<17}{effect.matches:,}, {effect.alone:,} by it alone{of_what}"
    yield f"    {'duplicate':<17}{left_out.by_first_reason.get('duplicate', 0):,}"
    if left_out.blacklist_names:
        used, all_names = left_out.blacklist_names_declared, left_out.blacklist_names
        yield f"    of the blacklist {used:,} of {all_names:,} names are declared"


def _embeddings_line(embeddings: EmbeddingsReport) -> str:
    said = "its .json names this corpus" if embeddings.says_corpus else "nothing beside it names a corpus"
    model = embeddings.namespace or "unknown"
    return (
        f"  embeddings       {embeddings.path}: {embeddings.rows:,} × {embeddings.dimension:,} {embeddings.dtype}, "
        f"all of length 1; {said}; model namespace {model}"
    )


def _finding_lines(report: CorpusReport) -> Iterator[str]:
    for severity in ORDER:
        for kind in (kind for kind in report.finding_counts if SEVERITIES[kind] == severity):
            found = [finding for finding in report.findings if finding.kind == kind]
            yield from (_finding_line(finding) for finding in found)
            if more := report.finding_counts[kind] - len(found):
                yield f"{severity}: … and {more:,} more of this kind ({kind}); --all lists them"


def _finding_line(finding: Finding) -> str:
    return f"{finding.severity}: {finding.place}: {finding.message}"


def _verdict(report: CorpusReport) -> str:
    totals = {
        severity: sum(count for kind, count in report.finding_counts.items() if SEVERITIES[kind] == severity)
        for severity in ORDER
    }
    found = ", ".join(f"{count:,} {severity}{'' if count == 1 else 's'}" for severity, count in totals.items())
    verdict = "It can be served" if report.can_be_served else "It cannot be served as it is"
    return f"{verdict}: {found} ({report.seconds:.1f} s)."


def listed(counts: Mapping[str, int], most: int = MOST_LISTED) -> str:
    """Names with their counts, the most frequent ones."""
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:most]]
    return ", ".join([*shown, *_more(counts, most)]) or "none"


def _more(counts: Mapping[str, int], most: int) -> Iterable[str]:
    return [f"{len(counts) - most:,} more"] if len(counts) > most else []
