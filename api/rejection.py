"""Why a request was turned away: a closed set of reasons, which `/metrics` counts."""

from collections.abc import Mapping
from enum import StrEnum

from shared.errors import OverloadedError, PremiseServerError, TextRejectedError


class Rejection(StrEnum):
    """The reasons, as the label of the metric says them."""

    QUEUE_TOKENS = "queue_tokens"
    QUEUE_JOBS = "queue_jobs"
    BODIES = "bodies"
    BUSY = "busy"
    TOO_LARGE = "too_large"
    SLOW_BODY = "slow_body"
    VALIDATION = "validation"
    UNEMBEDDABLE_TEXT = "unembeddable_text"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_READY = "not_ready"
    DEADLINE = "deadline"
    CLIENT_LEFT = "client_left"
    FAILURE = "failure"


REJECTION_OF_STATUS: Mapping[int, Rejection] = {
    400: Rejection.VALIDATION,
    401: Rejection.UNAUTHORIZED,
    403: Rejection.UNAUTHORIZED,
    404: Rejection.NOT_FOUND,
    405: Rejection.METHOD_NOT_ALLOWED,
    408: Rejection.SLOW_BODY,
    413: Rejection.TOO_LARGE,
    422: Rejection.VALIDATION,
    429: Rejection.BUSY,
    499: Rejection.CLIENT_LEFT,
    503: Rejection.NOT_READY,
    504: Rejection.DEADLINE,
}


def rejection_of_status(status: int) -> Rejection | None:
    """Why an answer of this status is no success, as far as the status tells; None where it is one."""
    if status < 400:
        return None
    return REJECTION_OF_STATUS.get(status, Rejection.VALIDATION if status < 500 else Rejection.FAILURE)


def rejection_of_error(error: PremiseServerError) -> Rejection | None:
    """What a named failure tells beyond its status; None where that is nothing."""
    if isinstance(error, OverloadedError):
        return Rejection(error.full)
    if isinstance(error, TextRejectedError) or isinstance(error.__cause__, TextRejectedError):
        return Rejection.UNEMBEDDABLE_TEXT
    return None
