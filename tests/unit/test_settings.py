"""Settings from the environment: checked, frozen, and clear about what cannot be used."""

import os
import warnings
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from shared.errors import SettingsError
from shared.settings import Settings, load_settings


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Variables to set for the test; the process's own are put back."""
    before = dict(os.environ)
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    added: dict[str, str] = {}
    yield added
    os.environ.clear()
    os.environ.update(before)


def loaded(environment: dict[str, str]) -> Settings:
    os.environ.update(environment)
    return load_settings()


def test_without_an_environment_the_defaults_hold(environment: dict[str, str]) -> None:
    settings = loaded(environment)
    assert (settings.port, settings.max_new_premises, settings.max_k) == (8000, 2048, 1024)


def test_an_empty_variable_is_as_none(environment: dict[str, str]) -> None:
    environment |= {"MAX_BATCH_TOKENS": "", "PORT": ""}
    assert loaded(environment).port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"),
        ("MAX_K", "0"),
        ("MAX_K", "many"),
        ("DTYPE", "float8"),
        ("RETRIEVE_TIMEOUT_SECONDS", "-1"),
        ("CORPUS_ON_BROKEN_LINE", "ignore"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_variable(
    environment: dict[str, str], name: str, value: str
) -> None:
    environment[name] = value
    with pytest.raises(SettingsError) as failure:
        loaded(environment)
    assert name in str(failure.value)
    assert value in str(failure.value)


@pytest.mark.parametrize(
    "url", ["host:6379", "http://:hunter2@host", "redis://:hunter2@host:port/0", "redis://h/0?db=x"]
)
def test_an_address_of_redis_that_cannot_be_used_is_named_and_not_repeated(
    environment: dict[str, str], url: str
) -> None:
    environment["REDIS_URL"] = url
    with pytest.raises(SettingsError, match=r"^REDIS_URL cannot be used: ") as failure:
        loaded(environment)
    assert "redis://host:6379/0" in str(failure.value)
    assert "hunter2" not in str(failure.value)


@pytest.mark.parametrize("name", ["API_KEYS", "API_KEYS_FILE"])
def test_keys_that_are_set_to_nothing_end_the_start(environment: dict[str, str], name: str) -> None:
    environment[name] = ""
    with pytest.raises(SettingsError, match=f"^{name} is empty"):
        loaded(environment)


def test_a_retired_variable_warns_once(environment: dict[str, str]) -> None:
    environment["LRU_CACHE_SIZE"] = "131072"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded(environment)
    assert ["LRU_CACHE_SIZE" in str(warning.message) for warning in caught] == [True]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc] # the point of the test
