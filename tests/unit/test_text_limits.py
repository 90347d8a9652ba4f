"""Texts over the limit are refused, the first of them by name."""

import pytest

from api.text_limits import require_short_texts
from shared.errors import InvalidRequestError


def test_texts_up_to_the_limit_pass_whatever_their_bytes() -> None:
    require_short_texts(["", "abc", "∀∃⊢"], 3, "Input {}".format)


def test_the_first_text_over_the_limit_is_named_and_not_repeated() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        require_short_texts(["abc", "wxyz", "longer still"], 3, "Input {}".format)
    assert str(refused.value) == "Input 1 has 4 characters: send at most 3."
