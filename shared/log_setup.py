"""Logging of every process: one line an event on standard error, readable or JSON, never a text of a user."""

import logging
import sys
import time
from typing import Any

import orjson
from celery.exceptions import Reject

from shared.redis_client import RedisError
from shared.settings import Settings

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class ReadableFormatter(logging.Formatter):
    """`time level name: message` with the extra fields behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line (more only for a traceback)."""
        line = (
            f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.levelname:<7} {record.getMessage()}"
        )
        fields = " ".join(f"{name}={value}" for name, value in _extra_fields(record).items())
        line = f"{line} {fields}" if fields else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its extra fields beside the standard ones."""
        entry: dict[str, Any] = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


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


def set_up_logging(settings: Settings) -> None:
    """Send every logger of the process to standard error in the chosen format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(QueueLibraries())
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else ReadableFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for chatty in (
        "httpx",
        "httpcore",
        "celery.worker.strategy",
        "celery.app.trace",
        "celery.pool",
        "kombu",
        "huggingface_hub",
        "filelock",
    ):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def _extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in STANDARD_FIELDS}
