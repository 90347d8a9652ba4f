"""The configuration line tells every setting and no secret."""

import json
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.configuration import shown_configuration
from shared.log_setup import JsonFormatter, ReadableFormatter
from shared.settings import Settings

HIDDEN = "hunter2-hunter2-hunter2"


def test_every_setting_is_there_with_its_effective_value() -> None:
    shown = shown_configuration(Settings(max_k=7, data_dir=Path("/x y")), {})
    assert shown.keys() == {name.upper() for name in Settings.model_fields}
    assert (shown["MAX_K"], shown["DATA_DIR"], shown["PARTIAL_RESULTS"], shown["MAX_BATCH_TOKENS"]) == (
        *(7, "/x y", False, None),
    )


@pytest.mark.parametrize(
    "redis_url",
    [
        f"redis://:{HIDDEN}@host:6379/0",
        f"rediss://user:{HIDDEN}@host:6379/0",
        f"redis://:pa@ss/wo{HIDDEN}@host:6379/0",
        f"redis://host:6379/0?password={HIDDEN}",
    ],
)
@pytest.mark.parametrize("formatter", [ReadableFormatter(), JsonFormatter()], ids=["readable", "json"])
def test_no_secret_is_in_the_line(redis_url: str, formatter: logging.Formatter) -> None:
    settings = Settings.model_construct(**{**dict(Settings(api_keys=SecretStr(HIDDEN))), "redis_url": redis_url})
    proxies = {"HTTPS_PROXY": f"http://me:{HIDDEN}@proxy:3128", "all_proxy": f"me:{HIDDEN}@proxy:3128"}
    shown = shown_configuration(settings, {**proxies, "HF_TOKEN": HIDDEN, "HF_ENDPOINT": f"https://u:{HIDDEN}@hub"})
    record = logging.makeLogRecord(
        {"name": "api", "msg": "starts with %(configuration)s", "args": {"configuration": shown}}
    )
    line = formatter.format(record)
    assert "hunter2" not in line
    assert "HF_TOKEN" not in line
    for told in ("://***@" if "@" in redis_url else "password=***", "http://***@proxy:3128", "https://***@hub"):
        assert told in line
    assert "**********" in line


def test_the_readable_line_leaves_out_what_is_empty_and_json_does_not() -> None:
    shown = shown_configuration(Settings(data_dir=Path("/x y")), {})
    text = str(shown)
    assert "DATA= " not in text
    assert "CORS_ORIGINS" not in text
    assert 'DATA_DIR="/x y"' in text
    assert "MAX_QUEUED_STATE_SECONDS=30.0" in text
    assert json.loads(json.dumps(shown))["CORS_ORIGINS"] == ""


def test_a_printed_settings_object_shows_neither_keys_nor_the_address_of_redis() -> None:
    printed = repr(Settings(api_keys=SecretStr(HIDDEN), redis_url=f"redis://:{HIDDEN}@host:1/0"))
    assert "hunter2" not in printed
