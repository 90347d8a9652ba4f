"""docs/operations.md as a program: its command blocks by name, each run by bash as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.acceptance.deployment import Deployment, Replica

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
BLOCK = re.compile(r"^```(\S*) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def command_blocks() -> dict[str, str]:
    """Commands by the name that stands behind the language of their block."""
    found = BLOCK.findall(PAGE)
    blocks = {name: commands for language, name, commands in found if language == "sh"}
    assert len(blocks) == len(found), "a block has no language, no name, or the name of another one"
    return blocks


def inline_commands() -> list[str]:
    """Commands within sentences and tables."""
    prose = BLOCK.sub("", PAGE)
    return [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose)]


class Shell:
    """A shell as the page's first table sets it up."""

    def __init__(self, deployment: Deployment, replica: Replica | None = None, **variables: str) -> None:
        programs = deployment.folder / "bin"
        programs.mkdir(exist_ok=True)
        self._environment = deployment.environment | variables
        self._environment |= {"PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        if replica:
            self._environment["API"] = replica.url
        if shutil.which("redis-cli") is None:
            provide_redis_cli(programs / "redis-cli")

    def run(self, block: str, exit_code: int = 0) -> str:
        """Run a block and return what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command_blocks()[block]],
            env=self._environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done.stdout


def provide_redis_cli(path: Path) -> None:
    """valkey-cli where there is one, else our stand-in."""
    program = shutil.which("valkey-cli") or f"{sys.executable} -m tests.redis_cli"
    path.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    path.chmod(0o755)
