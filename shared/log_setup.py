"""Logging of every process: one line an event on standard error, readable or JSON, never a text of a user.

What a message names by `%(name)s` is a field of its own in JSON, beside what `extra` gives.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

import orjson
from celery.exceptions import Reject

from shared.redis_client import RedisError
from shared.settings import Settings

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


OUR_LOGGERS = frozenset({"api", "corpus", "prepare", "shared", "worker"})

BREAKS_LINES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Line ends, control characters, and marks that make a terminal write backwards."""


class ReadableFormatter(logging.Formatter):
    """`time level message` with the extra fields behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it; below it, set in, the traceback if there is one."""
        message = record.getMessage()
        fields = [
            f"{name}={value}"
            for name, value in _extra_fields(record).items()
            if not (name.endswith("_id") and f"{name.removesuffix('_id')} {value}" in message)  # `job 1a2b: …`
        ]
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = " ".join([clock, f"{record.levelname:<7}", message, *fields])
        return escape_breaks(line) + (self._traceback(record.exc_info) if record.exc_info else "")

    def _traceback(self, exc_info: Any) -> str:  # noqa: ANN401 - logging's own type is not public
        lines = self.formatException(exc_info).splitlines()
        return "".join(f"\n    {escape_breaks(line)}" for line in lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its named arguments and extra fields beside the standard ones."""
        entry: dict[str, Any] = {
            **_named_arguments(record),
            **_extra_fields(record),
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(entry, default=str).decode()
        except TypeError:  # a lone surrogate, or an integer of more than 64 bits
            return json.dumps(entry, default=str)


class QueueLibraries(logging.Filter):
    """Makes one line of what Celery and kombu say of expected events: Redis is away, or a job is handed back.

    Their tracebacks are a page long each time, and Celery adds its whole context, with what it knows of arguments.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, with the kind of error in place of the traceback."""
        if record.name.partition(".")[0] in {"kombu", "celery"}:
            vars(record).pop("data", None)
            error = record.exc_info[1] if record.exc_info else None
            if isinstance(error, (RedisError, OSError, Reject)):
                record.msg, record.args = f"{record.getMessage().splitlines()[0]} ({type(error).__name__})", ()
                record.exc_info = record.exc_text = None
        return True


def escape_breaks(text: str) -> str:
    """The text on one line: nothing in it can look like a line of its own."""
    return BREAKS_LINES.sub(lambda match: ascii(match[0])[1:-1], text)


def set_up_logging(settings: Settings, *fields: logging.Filter) -> None:
    """Send every logger of the process to standard error in the chosen format; `fields` add to each record."""
    handler = logging.StreamHandler(sys.stderr)
    for each in (QueueLibraries(), *fields):
        handler.addFilter(each)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else ReadableFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for chatty in (
        "httpx",
        "httpcore",
        "httpx2",
        "httpcore2",
        "celery.worker.strategy",
        "celery.app.trace",
        "celery.pool",
        "kombu",
        "huggingface_hub",
        "faiss.loader",
        "filelock",
    ):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def _named_arguments(record: logging.LogRecord) -> Mapping[str, Any]:
    """What our own messages name; Celery's pick from all that it knows of a job."""
    is_ours = record.name.partition(".")[0] in OUR_LOGGERS
    return record.args if is_ours and isinstance(record.args, Mapping) else {}


def _extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in STANDARD_FIELDS}
