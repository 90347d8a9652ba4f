"""How commands end where the system refuses, or somebody presses Ctrl-C: a sentence and an exit code, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from api.commands import corpus_vectors
from api.commands.command_group import OrderedGroup
from api.commands.corpus_vectors import WarmRequest, warm
from shared.settings import Settings

FULL_DEVICE = Path("/dev/full")


def run_premises(*arguments: str, output: Path = Path(os.devnull)) -> tuple[int, str]:
    command = [sys.executable, "-m", "api.commands.main", *arguments]
    with output.open("w") as stream:
        ended = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
    return ended.returncode, ended.stderr


def test_a_data_folder_that_cannot_be_made_is_named_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, told = run_premises("embed", "demo", "--data-dir", str(tmp_path / "file" / "state"))
    assert code == 2
    assert told.splitlines()[-1].endswith("Not a directory.")
    assert str(tmp_path / "file") in told.splitlines()[-1]
    assert "Traceback" not in told


@pytest.mark.skipif(not FULL_DEVICE.exists(), reason="this system has no device that is always full")
def test_an_output_that_takes_nothing_is_told_in_a_sentence() -> None:
    code, told = run_premises("check", "demo", "--json", output=FULL_DEVICE)
    assert (code, told.splitlines()[-1]) == (2, "Reading or writing failed: No space left on device.")


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_command_does_not_end_as_one_that_found_faults() -> None:
    group = OrderedGroup(sections={})
    group.add_command(click.Command("work", callback=interrupt))
    ended = CliRunner().invoke(group, ["work"])
    assert (ended.exit_code, ended.output.strip()) == (130, "Interrupted.")


def test_an_interrupted_computation_says_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpus_vectors, "run_with_queue", interrupt)
    with pytest.raises(SystemExit) as ended:
        warm(WarmRequest("demo", []), Settings(data_dir=tmp_path))
    assert ended.value.code == 130
    assert "the same command goes on there" in capsys.readouterr().err
