"""What `premises check` tells of a corpus, as plain data: the JSON form is these fields."""

from dataclasses import dataclass

from api.corpus_review.findings import Finding, Kind
from api.corpus_review.imports import ImportsReport
from shared.corpus import DropReason, Filter


@dataclass(frozen=True, slots=True)
class Counts:
    """Of premises, that is after the filters, where nothing else is said."""

    modules: int
    modules_with_premises: int
    declarations: int
    """Before the filters."""
    declarations_with_doc: int
    premises: int
    with_doc: int
    in_module_system: int
    exposed: int
    by_kind: dict[str, int]
    by_library: dict[str, int]
    """By the first component of the module."""


@dataclass(frozen=True, slots=True)
class FilterReport:
    """What a filter leaves out."""

    matches: int
    """Declarations that it is against, whatever other filters say."""
    alone: int
    """Those among them that only this filter leaves out."""
    frequent: dict[str, int]
    """What it took exception to most often; of the blacklist nothing, its names are unique."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The effect of the filters."""

    total: int
    by_first_reason: dict[DropReason, int]
    filters: dict[Filter, FilterReport]
    blacklist_names: int
    blacklist_names_declared: int


@dataclass(frozen=True, slots=True)
class TextLengths:
    """Characters of the texts that are embedded; `up_to_*`: no more than so many in that share of them."""

    mean: float
    up_to_50_percent: int
    up_to_90_percent: int
    up_to_99_percent: int
    longest: int
    longest_place: str


@dataclass(frozen=True, slots=True)
class EmbeddingsReport:
    """A given file of embeddings that fits."""

    path: str
    rows: int
    dimension: int
    dtype: str
    namespace: str | None
    """Of the model, as said in the .json beside it."""
    says_corpus: bool
    """Whether that .json names this corpus."""


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """All that there is to say."""

    corpus: str
    folder: str
    revision: str | None
    digest: str | None
    """None where the corpus cannot be read as a whole."""
    archive_sha256: str | None
    can_be_served: bool
    counts: Counts
    left_out: LeftOut
    text_characters: TextLengths | None
    imports: ImportsReport
    embeddings: EmbeddingsReport | None
    finding_counts: dict[Kind, int]
    findings: list[Finding]
    """Of each kind the first few, unless all are asked for."""
    seconds: float
