"""Lines of the log: one an event whatever is in it, readable or JSON, with fields of their own."""

import json
import logging
import subprocess
import sys

import pytest

from shared.log_setup import JsonFormatter, QueueLibraries, ReadableFormatter

FORMATTERS = [ReadableFormatter(), JsonFormatter()]


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.getLogger("api.request").makeRecord(
        "api.request", logging.INFO, __file__, 1, message, arguments, None, extra=fields
    )
    made.created = 1_800_000_000.0
    return made


def readable(of: logging.LogRecord) -> str:
    return ReadableFormatter().format(of)[len("12:00:00 ") :]


def test_a_readable_line_has_its_level_its_message_and_what_is_extra() -> None:
    line = readable(record("%(method)s %(path)s", {"method": "GET", "path": "/x"}, total_ms=1.5, request_id="r-1"))
    assert line == "INFO    GET /x total_ms=1.5 request_id=r-1"


def test_an_id_that_the_message_holds_is_not_repeated() -> None:
    assert readable(record("job %s is done", "j-1", job_id="j-1", count=1)) == "INFO    job j-1 is done count=1"


def test_an_id_that_merely_looks_like_a_part_of_the_message_is_not_left_out() -> None:
    assert readable(record("GET /x 200", request_id="200")) == "INFO    GET /x 200 request_id=200"


def test_named_arguments_and_extra_fields_are_fields_in_json() -> None:
    entry = json.loads(JsonFormatter().format(record("%(method)s %(status)d", {"method": "GET", "status": 200}, ms=1)))
    assert entry == {
        "method": "GET",
        "status": 200,
        "ms": 1,
        "time": 1_800_000_000.0,
        "level": "info",
        "logger": "api.request",
        "message": "GET 200",
    }


def test_a_field_cannot_pose_as_one_of_the_standard_ones() -> None:
    entry = json.loads(JsonFormatter().format(record("x", level="forged", time=0, logger="forged")))
    assert (entry["level"], entry["time"], entry["logger"]) == ("info", 1_800_000_000.0, "api.request")


@pytest.mark.parametrize("formatter", FORMATTERS, ids=["readable", "json"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\x85", "\u2028", "\u2029"])
def test_no_line_can_be_forged(formatter: logging.Formatter, end: str) -> None:
    forged = f"x{end}12:00:00 INFO    GET / 200"
    line = formatter.format(record("asked for %s", forged, request_id=forged))
    assert "\n" not in line
    assert "\r" not in line
    if isinstance(formatter, ReadableFormatter):
        assert len(line.splitlines()) == 1
    else:
        assert json.loads(line)["request_id"] == forged


def test_a_terminal_is_not_given_commands() -> None:
    assert readable(record("\x1b[2J\x9b1A\u202egnol")) == r"INFO    \x1b[2J\x9b1A\u202egnol"


@pytest.mark.parametrize("formatter", FORMATTERS, ids=["readable", "json"])
def test_of_what_celery_knows_of_a_job_only_the_message_is_told(formatter: logging.Formatter) -> None:
    context = {"name": "premises.embed", "id": "j-1", "kwargs": "{'texts': ['a goal']}"}
    made = logging.getLogger("celery.app.trace").makeRecord(
        "celery.app.trace", logging.ERROR, __file__, 1, "Task %(name)s[%(id)s] failed", (context,), None
    )
    made.data = context
    assert QueueLibraries().filter(made)
    line = formatter.format(made)
    assert "Task premises.embed[j-1]" in line
    assert "a goal" not in line


def test_letters_of_lean_stay_as_they_are() -> None:
    assert readable(record("the module «Über.α₁» ⊢ ∀")) == "INFO    the module «Über.α₁» ⊢ ∀"


def test_a_traceback_is_set_in_so_that_no_line_of_it_can_be_taken_for_another_event() -> None:
    failed = record("it failed")
    with pytest.raises(ValueError, match="why") as caught:
        raise ValueError("why\n12:00:00 INFO    GET / 200")
    failed.exc_info = (caught.type, caught.value, caught.tb)
    first, *below = ReadableFormatter().format(failed).split("\n")
    assert first.endswith("INFO    it failed")
    assert below[-2:] == ["    ValueError: why", "    12:00:00 INFO    GET / 200"]
    assert all(line.startswith("    ") for line in below)
    assert json.loads(JsonFormatter().format(failed))["exception"].endswith("GET / 200")


def test_json_takes_what_json_cannot_say() -> None:
    entry = json.loads(JsonFormatter().format(record("%s", "lone \ud800", big=2**70, path=sys, bad=b"\xff")))
    assert entry["message"] == "lone \ud800"
    assert entry["big"] == 2**70


def test_which_build_of_faiss_was_tried_is_told_to_nobody() -> None:
    script = (
        "from shared.log_setup import set_up_logging\n"
        "from shared.settings import Settings\n"
        "set_up_logging(Settings())\n"
        "import faiss\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert shown.stderr == b""
