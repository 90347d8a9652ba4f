"""What the local server tells whoever started it."""

from api.commands.terminal import welcome


def test_without_keys_the_lines_to_try_need_none() -> None:
    said = welcome("http://127.0.0.1:8000", "redis.log", wants_key=False)
    assert "curl -s http://127.0.0.1:8000/retrieve -H 'Content-Type: application/json' \\\n" in said
    assert 'apiBaseUrl "http://127.0.0.1:8000"' in said
    assert "key" not in said.lower()


def test_with_keys_the_lines_to_try_say_where_one_goes() -> None:
    said = welcome("http://127.0.0.1:8000", "redis.log", wants_key=True)
    assert '/retrieve -H "Authorization: Bearer $KEY" -H ' in said
    assert 'apiBaseUrl "http://user:<key>@127.0.0.1:8000"' in said
