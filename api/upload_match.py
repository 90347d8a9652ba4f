"""Whether what a client uploads is, to the byte, what is known: by this host, or as a corpus's text or spelling of it.

Only then is its vector found, since vectors are looked up by a hash of the text.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from api.uploaded_texts import UploadedText

Reason = Literal["universe names", "doc comment", "kind", "spaces", "signature"]

EXCERPT_BEFORE, EXCERPT_AFTER = 30, 40
END_OF_COMMENT = "-/\n"


@dataclass(frozen=True, slots=True)
class Difference:
    """A text that is not found, and where it first differs from what the corpus has under its name."""

    name: str
    reason: Reason
    character: int
    """Number of the first one that differs, from 1."""
    sent: str
    """What stands around it in the client's text."""
    expected: str
    """What stands there in the corpus's."""


@dataclass(slots=True)
class UploadMatch:
    """How many of a client's texts are found; each text counts once."""

    new_premises: int = 0
    """In all files, repeated ones too."""
    texts: int = 0
    known_here: int = 0
    """Vectors are in the data folder, of some model."""
    named_in_corpus: int = 0
    """The corpus has a premise of that name."""
    equal_to_text: int = 0
    """Of these: the text is the corpus's own."""
    equal_to_spelling: int = 0
    """Of these: it is one that `premises warm` computes."""
    not_covered: int = 0
    """Of all texts: none of the above."""
    reasons: Counter[Reason] = field(default_factory=Counter)
    """Why premises of the corpus are not found."""
    differences: list[Difference] = field(default_factory=list)


def match_uploads(
    uploads: Iterable[UploadedText],
    *,
    known: Collection[str],
    corpus_texts: Mapping[str, str],
    spellings: Mapping[str, Sequence[str]],
    most_of_a_reason: int,
) -> UploadMatch:
    """Hold uploads against texts that are known, and against a corpus's texts and spellings by name."""
    match = UploadMatch()
    seen = set()
    for upload in uploads:
        match.new_premises += 1
        if upload.text in seen:
            continue
        seen.add(upload.text)
        match.texts += 1
        match.known_here += upload.text in known
        covered = upload.text in known
        if (text := corpus_texts.get(upload.name)) is not None:
            covered |= _hold_against(match, upload, [text, *spellings.get(upload.name, ())], most_of_a_reason)
        match.not_covered += not covered
    return match


def _hold_against(match: UploadMatch, upload: UploadedText, candidates: Sequence[str], most_of_a_reason: int) -> bool:
    """Count one text of a premise that the corpus has; the first candidate is the corpus's own text."""
    match.named_in_corpus += 1
    if upload.text in candidates:
        own = upload.text == candidates[0]
        match.equal_to_text += own
        match.equal_to_spelling += not own
        return True
    difference = describe_difference(upload, candidates)
    match.reasons[difference.reason] += 1
    if match.reasons[difference.reason] <= most_of_a_reason:
        match.differences.append(difference)
    return False


def describe_difference(upload: UploadedText, candidates: Sequence[str]) -> Difference:
    """Where a text first differs from the candidate that it is most like, and in what."""
    place, nearest = max((_first_difference(text, upload.text), text) for text in candidates)
    return Difference(
        upload.name,
        _reason(upload, candidates),
        place + 1,
        _excerpt(upload.text, place),
        _excerpt(nearest, place),
    )


def _first_difference(text: str, other: str) -> int:
    """Place of the first character that differs; where one text ends, at the latest."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(text), len(other)))


def _reason(upload: UploadedText, candidates: Sequence[str]) -> Reason:
    sent = _signature(upload.text)
    signatures = [_signature(text) for text in candidates]
    if f" {upload.name}.{{" in sent:
        return "universe names"
    if sent in signatures:
        return "doc comment"
    if _after_first_word(sent) in map(_after_first_word, signatures):
        return "kind"
    if "".join(sent.split()) in {"".join(text.split()) for text in signatures}:
        return "spaces"
    return "signature"


def _signature(text: str) -> str:
    """A text without its doc comment."""
    return text[text.index(END_OF_COMMENT) + len(END_OF_COMMENT) :] if _has_comment(text) else text


def _has_comment(text: str) -> bool:
    return text.startswith("/--") and END_OF_COMMENT in text


def _after_first_word(text: str) -> str:
    return text.partition(" ")[2]


def _excerpt(text: str, place: int) -> str:
    start, end = max(0, place - EXCERPT_BEFORE), place + EXCERPT_AFTER
    before, after = "…" if start else "", "…" if end < len(text) else ""
    return f"{before}{text[start:end]}{after}"
