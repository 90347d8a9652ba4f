"""What `make` would do, by its own dry run, in a folder that looks installed."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.compose_files import REPOSITORY

CPU = "https://index.example/cpu"
GPU = "https://index.example/gpu"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
        os.utime(tmp_path / name, (time.time() - 60, time.time() - 60))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    return tmp_path


def would_run(checkout: Path, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in {"TORCH_INDEX_URL", "MAKEFLAGS"}}
    command = ["make", "-n", *arguments]
    return subprocess.run(command, cwd=checkout, env=clean, capture_output=True, text=True, check=True).stdout


def test_what_is_installed_is_not_installed_again(checkout: Path) -> None:
    assert "pip" not in would_run(checkout, "install")


def test_naming_an_index_for_torch_after_the_installation_installs_torch_from_there(checkout: Path) -> None:
    assert f'--force-reinstall --index-url "{CPU}"' in would_run(checkout, "install", f"TORCH_INDEX_URL={CPU}")


def test_naming_the_same_index_again_does_nothing(checkout: Path) -> None:
    (checkout / ".venv/.torch-index").write_text(f"{CPU}\n")
    assert "pip" not in would_run(checkout, "install", f"TORCH_INDEX_URL={CPU}")
    assert "pip" not in would_run(checkout, "install")
    assert "pip" in would_run(checkout, "install", f"TORCH_INDEX_URL={GPU}")
