from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from api.commands.check import check_command
from shared.errors import ArtifactError, PremiseServerError, SettingsError
from tests.corpora import pack_corpus, write_plain_corpus


def check(tmp_path: Path, *arguments: str, **variables: str) -> Result:
    environment = {"DATA": "", "DATA_REVISION": "", "EMBEDDINGS": "", "DATA_DIR": str(tmp_path / "state")} | variables
    return CliRunner().invoke(check_command, arguments, env=environment)


def test_a_corpus_that_can_be_served_ends_with_0_and_one_that_cannot_with_1(tmp_path: Path) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    sound = check(tmp_path, str(folder))
    assert (sound.exit_code, "It can be served" in sound.stdout) == (0, True)
    (folder / "revision").unlink()
    faulty = check(tmp_path, str(folder))
    assert (faulty.exit_code, "error: revision: " in faulty.stdout) == (1, True)


def test_scripts_get_one_json_object(tmp_path: Path) -> None:
    archive = pack_corpus(write_plain_corpus(tmp_path / "c"), tmp_path / "premises.tar.gz")
    report = orjson.loads(check(tmp_path, str(archive), "--json").stdout)
    assert (report["revision"], report["counts"]["premises"], report["can_be_served"]) == ("v4.0.0", 3, True)


def test_the_demo_can_be_checked_by_its_name(tmp_path: Path) -> None:
    assert check(tmp_path, "demo").exit_code == 0


def test_without_argument_the_corpus_of_the_settings_is_meant(tmp_path: Path) -> None:
    folder = write_plain_corpus(tmp_path / "c")
    assert check(tmp_path, DATA=str(folder)).stdout.startswith(f"{folder}: revision v4.0.0")
    assert isinstance(check(tmp_path).exception, SettingsError)


@pytest.mark.parametrize(
    ("argument", "error", "said"),
    [
        ("./nowhere", ArtifactError, "There is no corpus ./nowhere"),
        ("hub:", SettingsError, "write hub:REVISION"),
        ("hub:a/b", SettingsError, "write hub:REVISION"),
    ],
)
def test_what_names_no_corpus_is_told_how_to_name_one(
    tmp_path: Path, argument: str, error: type[PremiseServerError], said: str
) -> None:
    result = check(tmp_path, argument)
    assert isinstance(result.exception, error)
    assert said in str(result.exception)
