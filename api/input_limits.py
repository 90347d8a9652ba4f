"""How much of a request for embeddings is taken in."""

from collections.abc import Sequence

from api.text_limits import require_short_texts
from shared.embedding_cache import EmbeddingInput
from shared.errors import InvalidRequestError
from shared.settings import Settings


def check_inputs(inputs: Sequence[EmbeddingInput], settings: Settings, *, param: str) -> None:
    """Raise `InvalidRequestError` for too many inputs, or one that is too long; `param` names their field."""
    if len(inputs) > settings.max_inputs:
        raise InvalidRequestError(
            f"A request holds at most {settings.max_inputs} inputs, but {param} has {len(inputs)}: send the others in "
            "further requests.",
            param=param,
            code="too_many_inputs",
        )
    texts = (given if isinstance(given, str) else "" for given in inputs)
    require_short_texts(texts, settings.max_text_characters, lambda place: f"{param}[{place}]", param=param)
