"""The list of origins whose pages may call the API."""

import pytest

from api.cross_origin import parse_origins
from shared.errors import SettingsError


def test_origins_are_separated_by_commas_and_written_as_browsers_send_them() -> None:
    assert parse_origins(" https://Lean.example, http://localhost:5173,") == [
        "https://lean.example",
        "http://localhost:5173",
    ]
    assert parse_origins("*") == ["*"]
    assert parse_origins("") == []


@pytest.mark.parametrize(
    "origin",
    [
        *("lean.example", "https://lean.example/", "https://lean.example/page", "https://*.lean.example", "null"),
        *("https://user:password@lean.example", "https://lean.example?x"),
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"^CORS_ORIGINS: "):
        parse_origins(f"https://good.example,{origin}")
