"""The effective configuration, as the first line of a process's log tells it: every secret is masked."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from shared.settings import Settings

READ_BY_LIBRARIES = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""Variables that are no settings of ours and yet decide what a process reaches; huggingface_hub's token is not read."""

USER_AND_PASSWORD = re.compile(r"://.*@", re.DOTALL)
PROXY_USER_AND_PASSWORD = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.DOTALL | re.IGNORECASE)
SECRET_OPTION = re.compile(r"((?:password|passwd|token|secret|key)=)[^&\s]+", re.IGNORECASE)


class ShownConfiguration(dict[str, Any]):
    """Values by variable, JSON types only; as text `NAME=value …` without those that are empty."""

    def __str__(self) -> str:
        return " ".join(f"{name}={_as_text(value)}" for name, value in self.items() if value not in (None, "", []))


def shown_configuration(settings: Settings, environment: Mapping[str, str]) -> ShownConfiguration:
    """The settings, and what libraries read from the environment beside them."""
    values = {name.upper(): _masked(value) for name, value in settings.model_dump(mode="json").items()}
    for name in READ_BY_LIBRARIES:
        if given := environment.get(name) or environment.get(name.lower()):
            values[name] = PROXY_USER_AND_PASSWORD.sub(r"\1***@", given)
    return ShownConfiguration(values)


def _masked(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return SECRET_OPTION.sub(r"\1***", USER_AND_PASSWORD.sub("://***@", value))
    if isinstance(value, list):
        return [_masked(each) for each in value]
    if isinstance(value, dict):
        return {name: _masked(each) for name, each in value.items()}
    return value


def _as_text(value: Any) -> str:  # noqa: ANN401 - JSON
    return value if isinstance(value, str) and not re.search(r"\s", value) else orjson.dumps(value).decode()
