"""Why a request was turned away, in a word from a closed set."""

import pytest

from api.admission import overloaded
from api.errors import STATUS_OF_ERROR
from api.rejection import Rejection, rejection_of_error, rejection_of_status
from shared.errors import InvalidRequestError, OverloadedError, TextRejectedError


@pytest.mark.parametrize("status", [200, 206, 304])
def test_a_success_is_no_rejection(status: int) -> None:
    assert rejection_of_status(status) is None


@pytest.mark.parametrize("status", sorted({400, 401, 404, 405, 418, 499, 500, 502, *STATUS_OF_ERROR.values()}))
def test_every_other_status_has_a_reason(status: int) -> None:
    assert isinstance(rejection_of_status(status), Rejection)


def test_an_overload_says_what_is_full() -> None:
    assert rejection_of_error(OverloadedError("full", 1, "bodies")) == "bodies"
    assert rejection_of_error(overloaded(10, 1.0, "queue_jobs")) == "queue_jobs"


def test_a_text_that_the_model_cannot_embed_is_no_matter_of_form() -> None:
    rejected = TextRejectedError("key", "not_finite", "no numbers")
    named = InvalidRequestError("State 0 cannot be embedded")
    named.__cause__ = rejected
    assert rejection_of_error(rejected) == rejection_of_error(named) == "unembeddable_text"
    assert rejection_of_error(InvalidRequestError("wrong")) is None
