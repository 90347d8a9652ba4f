"""The documents say what the code does."""

import re
import tomllib
from pathlib import Path

import pytest

from shared.settings import RETIRED_VARIABLES, Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_settings_table_lists_every_setting_with_its_default_and_nothing_else() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? ?\| (.+) \|$", read("README.md"), re.MULTILINE)
    listed = {name: (default, meaning) for name, default, meaning in rows}
    expected = {
        name.upper(): ("" if field.default in ("", None, ()) else str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    }
    assert listed == expected


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_holds_both_sides_of_a_merge(document: Path) -> None:
    assert re.findall(r"^(?:<{7} .*|={7}|>{7} .*)$", document.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_is_named_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)\b", read(document))) <= targets


def test_every_file_that_the_readme_names_exists() -> None:
    named = re.findall(r"`((?:api|worker|shared|tests)/[\w/]*(?:\.py)?)`", read("README.md"))
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    names = {re.split(r"[\[<>=;~ ]", requirement)[0] for requirement in wanted}
    cells = re.findall(r"^\| ([^|]+) \|", read("docs/dependencies.md"), re.MULTILINE)
    explained = {name.strip() for cell in cells for name in cell.split(",")} - {"package", "---"}
    assert explained == names


def test_the_migration_guide_names_every_retired_variable() -> None:
    guide = read("docs/migration.md")
    for name in RETIRED_VARIABLES:
        assert name in guide or f"{'_'.join(name.split('_')[:2])}_*" in guide, name
