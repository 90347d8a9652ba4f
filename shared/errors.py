"""The named failures of the premise server.

They know no HTTP: `api/errors.py` holds the one table that turns them into statuses.  Every text says what to do.
"""

from collections.abc import Sequence
from typing import Any, Literal

FullPlace = Literal["queue_tokens", "queue_jobs", "bodies"]
"""What has no room left: the queue, by its estimated tokens or by its jobs, or the memory for bodies."""


LONGEST_SHOWN_NAME = 100
"""Characters of what a caller sent that a message repeats."""


class PremiseServerError(Exception):
    """Base of every error that the server raises on purpose; its text is shown to whoever caused it."""


class SettingsError(PremiseServerError):
    """A setting has an unusable value; the text names the environment variable."""


class CorpusError(PremiseServerError):
    """The corpus files, or embeddings that should fit them, cannot be used."""


class ArtifactError(PremiseServerError):
    """A corpus, model or embeddings file could not be found or fetched."""


class EvaluationError(PremiseServerError):
    """An evaluation set or a saved run cannot be used, or the server does not answer as the evaluation needs."""


class ModelError(PremiseServerError):
    """The model folder cannot be loaded or asks for something that this worker does not do."""


class NotReadyError(PremiseServerError):
    """A part that the request needs (Redis, a live worker, the corpus) is away: try again later."""


class OverloadedError(PremiseServerError):
    """`full` is as full as its limits allow: try again after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: int, full: FullPlace = "queue_tokens") -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.full = full


class DeadlineExceededError(PremiseServerError):
    """The embeddings did not arrive within the request's deadline; what did arrive stays cached."""


class InvalidRequestError(PremiseServerError):
    """The request's content cannot be used; the caller can mend it.

    `param` is the field at fault and `code` a word for the fault, where there is one.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class RequestValidationFailed(InvalidRequestError):  # noqa: N818 - it says what happened; "Error" is in its base
    """The body cannot be read as the request; `errors` lists what is wrong, of a list only the first.

    Each fault is `{"loc": [...], "msg": "..."}`.
    """

    def __init__(self, message: str, errors: list[dict[str, Any]]) -> None:
        super().__init__(message, param=next((str(part) for part in errors[0]["loc"][1:]), None))
        self.errors = errors


class UnknownModelError(PremiseServerError):
    """The request names a model that this deployment does not serve."""

    param = "model"
    code = "model_not_found"

    def __init__(self, name: str, served: Sequence[str]) -> None:
        shown = name if len(name) <= LONGEST_SHOWN_NAME else f"{name[:LONGEST_SHOWN_NAME]}..."
        super().__init__(f"The model {shown!r} is not served here: use one of {', '.join(served)}.")


class CorpusConflictError(PremiseServerError):
    """Another corpus is wanted, or was prepared, at the same prefix."""


class UnknownCorpusError(PremiseServerError):
    """No corpus is wanted at that prefix."""


class OperatorKeyError(PremiseServerError):
    """The request changes what is served, and shows no operator's key."""


class PayloadTooLargeError(PremiseServerError):
    """The request's body is larger than the server reads."""


class SlowRequestError(PremiseServerError):
    """The request's body did not arrive in the time that it may take."""


class TextRejectedError(PremiseServerError):
    """The model cannot embed one of the request's texts; `key` is the text's cache key."""

    def __init__(self, key: str, kind: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.kind = kind


class ChildFailedError(PremiseServerError):
    """A process of the local server ended in a way that another start would not mend."""
