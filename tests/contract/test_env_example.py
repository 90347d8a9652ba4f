"""`.env.example` and the settings say the same."""

import re

from shared.settings import Settings
from tests.compose_files import COMPOSE_FILE, GPU_FILE, REPOSITORY, read_compose, variables_in

ENTRY = re.compile(r"^# (?P<explanation>.+)\n#(?P<name>[A-Z_]+)=(?P<default>.*)$", re.MULTILINE)
EXAMPLE = (REPOSITORY / ".env.example").read_text()


def test_every_setting_is_listed_with_its_default_and_its_explanation_in_order() -> None:
    settings = [
        (name.upper(), "" if field.default in (None, ()) else str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
    listed = [(entry["name"], entry["default"], entry["explanation"]) for entry in ENTRY.finditer(EXAMPLE)]
    assert listed[: len(settings)] == settings


def test_every_other_line_is_a_variable_that_the_compose_files_use() -> None:
    listed = {entry["name"] for entry in ENTRY.finditer(EXAMPLE)}
    settings = {name.upper() for name in Settings.model_fields}
    used = {name for path in (COMPOSE_FILE, GPU_FILE) for name in variables_in(path.read_text())}
    used |= {name for service in read_compose()["services"].values() for name in service.get("environment", {})}
    assert listed - settings <= used


def test_nothing_is_set_by_the_example_itself() -> None:
    assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")] == []


def test_no_variable_is_listed_twice() -> None:
    names = re.findall(r"^#([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert len(names) == len(set(names))
