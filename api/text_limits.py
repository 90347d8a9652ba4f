"""How long one text may be: the model reads its beginning alone, but all of it would be split into tokens."""

from collections.abc import Callable, Iterable

from shared.errors import InvalidRequestError


def require_short_texts(
    texts: Iterable[str], max_characters: int, name_text: Callable[[int], str], *, param: str | None = None
) -> None:
    """Raise `InvalidRequestError` for the first text of more than `max_characters` characters (code points).

    `name_text` says which one it is, by its position: it begins the sentence, for example `State 3`.  `param` is the
    request's field, for protocols that name it.
    """
    for position, text in enumerate(texts):
        if len(text) > max_characters:
            raise InvalidRequestError(
                f"{name_text(position)} has {len(text)} characters: send at most {max_characters}.", param=param
            )
