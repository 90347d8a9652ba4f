"""Holding a client's uploads against a corpus: what is equal, and in what the others differ."""

from collections.abc import Sequence

import pytest

from api.upload_match import Reason, UploadMatch, describe_difference, match_uploads
from api.uploaded_texts import UploadedText

TEXT = "/-- A fact. -/\ntheorem A.t {n : Nat} : P n"
SPELLING = "theorem A.t {n : Nat} : P n"


def match(*uploads: UploadedText, known: Sequence[str] = ()) -> UploadMatch:
    return match_uploads(
        uploads, known=set(known), corpus_texts={"A.t": TEXT}, spellings={"A.t": [SPELLING]}, most_of_a_reason=1
    )


def test_each_text_counts_once_and_as_what_it_is() -> None:
    new = UploadedText("B.new", "theorem B.new : True")
    found = match(
        UploadedText("A.t", TEXT), UploadedText("A.t", TEXT), UploadedText("A.t", SPELLING), new, known=[TEXT]
    )
    assert (found.new_premises, found.texts, found.known_here, found.named_in_corpus) == (4, 3, 1, 2)
    assert (found.equal_to_text, found.equal_to_spelling, found.not_covered) == (1, 1, 1)
    assert found.differences == []


def test_a_text_that_is_known_here_is_covered_whatever_the_corpus_says() -> None:
    other = "theorem A.t {n : Nat} : Q n"
    assert match(UploadedText("A.t", other), known=[other]).not_covered == 0


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("theorem A.t.{u} {n : Nat} : P n", "universe names"),
        ("/-- Another. -/\ntheorem A.t {n : Nat} : P n", "doc comment"),
        ("axiom A.t {n : Nat} : P n", "kind"),
        ("theorem A.t {n : Nat}  : P n", "spaces"),
        ("theorem A.t {n : Nat} : Q n", "signature"),
    ],
)
def test_the_reason_of_a_difference_is_named(sent: str, reason: Reason) -> None:
    found = match(UploadedText("A.t", sent))
    assert found.reasons == {reason: 1}
    assert found.not_covered == 1


def test_a_difference_shows_the_first_character_and_what_stands_around_it() -> None:
    difference = describe_difference(UploadedText("A.t", "theorem A.t {n : Nat} : Q n"), [TEXT, SPELLING])
    assert difference.character == 25
    assert difference.sent == "theorem A.t {n : Nat} : Q n"
    assert difference.expected == SPELLING


def test_a_text_that_ends_early_differs_at_its_end() -> None:
    assert describe_difference(UploadedText("A.t", "theorem A.t"), [SPELLING]).character == len("theorem A.t") + 1


def test_so_many_differences_of_a_reason_are_shown() -> None:
    uploads = [UploadedText("A.t", f"theorem A.t {{n : Nat}} : Q{number} n") for number in range(5)]
    found = match(*uploads)
    assert found.reasons["signature"] == 5
    assert len(found.differences) == 1
