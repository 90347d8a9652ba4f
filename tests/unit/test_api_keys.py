"""Keys: which are fit to be used, how they are compared, and how a file of them is read again."""

import hmac
import logging
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.api_keys import ApiKeys, KeyFile, digest_of
from shared.errors import SettingsError
from shared.settings import Settings

FIRST = "3f9c1d7e5b8a2460"
SECOND = "b7e151628aed2a6a"
THIRD = "9e3779b97f4a7c15"


def keys_of(listed: str = "", file: Path | None = None) -> ApiKeys:
    keys = ApiKeys.from_settings(Settings(api_keys=SecretStr(listed), api_keys_file=file))
    assert keys is not None
    return keys


def change(path: Path, content: str, *, at: float) -> None:
    path.write_text(content)
    os.utime(path, (at, at))


def test_without_a_setting_there_are_no_keys() -> None:
    assert ApiKeys.from_settings(Settings()) is None


def test_each_of_several_keys_is_good_and_nothing_else_is() -> None:
    keys = keys_of(f"{FIRST}, {SECOND}")
    assert keys.accept(FIRST.encode())
    assert keys.accept(SECOND.encode())
    for wrong in (b"", FIRST[:-1].encode(), f"{FIRST}x".encode(), f"{FIRST},{SECOND}".encode(), FIRST.upper().encode()):
        assert not keys.accept(wrong)


def test_keys_of_both_settings_are_good(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(SECOND)
    keys = keys_of(FIRST, tmp_path / "keys")
    assert [keys.accept(key.encode()) for key in (FIRST, SECOND, THIRD)] == [True, True, False]


@pytest.mark.parametrize("shown", [FIRST, SECOND, THIRD, "wrong"])
def test_whatever_is_shown_is_compared_with_every_key_in_equal_length(shown: str) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    keys = ApiKeys([digest_of(key.encode()) for key in (FIRST, SECOND, THIRD)], compare=compare)
    assert keys.accept(shown.encode()) is (shown != "wrong")
    assert compared == [(32, 32)] * 3


def test_the_comparison_takes_constant_time_by_default() -> None:
    assert keys_of(FIRST).compare is hmac.compare_digest


@pytest.mark.parametrize(
    "listed",
    [
        ",",
        " ",
        f"{FIRST},",
        "secret",
        "0123456789abcde",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "abcabcabcabcabcabcabc",
        "schlüssel-schlüssel-schlüssel",
        "two words of a long sentence",
        "0123456789abcdef\n0123456789abcdef",
    ],
)
def test_a_key_that_cannot_be_used_is_refused_without_being_repeated(listed: str) -> None:
    with pytest.raises(SettingsError, match=r"^API_KEYS") as refused:
        keys_of(listed)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert not any(part and part in sentence for part in listed.split(",") if part.strip())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no key"),
        (b"# nobody yet\n\n", "holds no key"),
        (b"weak-secret\n", "key 1"),
        (f"{FIRST}\n{SECOND} alice\n".encode(), "key 2"),
        (b"\xff\xfe0123456789abcdef", "key 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as refused:
        keys_of(file=path)
    assert f"API_KEYS_FILE={path}" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("what", ["absent", "folder", "pipe"])
def test_what_is_no_file_is_refused_by_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    if what == "pipe":
        os.mkfifo(path)
    with pytest.raises(SettingsError, match=r"API_KEYS_FILE=.* cannot be"):
        keys_of(file=path)


def test_comments_empty_lines_and_line_ends_of_windows_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"\ufeff# Lean users\r\n\r\n{FIRST}  # alice\r\n{SECOND}#not-a-comment\r\n", "utf-8")
    keys = keys_of(file=path)
    assert keys.accept(FIRST.encode())
    assert keys.accept(f"{SECOND}#not-a-comment".encode())
    assert not keys.accept(SECOND.encode())


def test_a_changed_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys"
    change(path, f"{FIRST}\n{SECOND}\n", at=1000)
    keys = keys_of(file=path)
    change(path, f"{SECOND}\n{THIRD}\n", at=2000)
    with caplog.at_level(logging.INFO, "api"):
        assert [keys.accept(key.encode()) for key in (FIRST, SECOND, THIRD)] == [False, True, True]
    assert caplog.messages == ["the API keys were read again: there are 2 now"]


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    change(path, FIRST, at=1000)
    file = KeyFile(path)
    path.write_text(SECOND)  # of the same length; the times are put back
    os.utime(path, (1000, 1000))
    assert file.digests() == [digest_of(FIRST.encode())]


def test_a_second_change_within_one_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    change(path, FIRST, at=1000)
    file = KeyFile(path, clock=lambda: 1001.0)
    change(path, SECOND, at=1000)
    assert file.digests() == [digest_of(SECOND.encode())]


@pytest.mark.parametrize("spoilt", ["", "weak", None])
def test_a_file_that_is_spoilt_later_leaves_the_keys_in_force_and_is_complained_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoilt: str | None
) -> None:
    path = tmp_path / "keys"
    change(path, FIRST, at=1000)
    keys = keys_of(file=path)
    if spoilt is None:
        path.unlink()
    else:
        change(path, spoilt, at=2000)
    assert [keys.accept(FIRST.encode()) for _ in range(3)] == [True] * 3
    [complaint] = caplog.messages
    assert str(path) in complaint
    assert complaint.endswith("The keys that were read before stay in force.")
    change(path, SECOND, at=3000)
    assert [keys.accept(key.encode()) for key in (FIRST, SECOND)] == [False, True]


def test_nothing_that_prints_them_shows_a_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(SECOND)
    settings = Settings(api_keys=SecretStr(FIRST), api_keys_file=tmp_path / "keys")
    printed = repr([settings, settings.model_dump(), ApiKeys.from_settings(settings)]) + settings.model_dump_json()
    assert FIRST not in printed
    assert SECOND not in printed
