"""The compose files and Dockerfiles as data, and Compose's way of filling in variables."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]
COMPOSE_FILE = REPOSITORY / "docker-compose.yaml"
GPU_FILE = REPOSITORY / "docker-compose.gpu.yaml"
DOCKERFILES = (REPOSITORY / "Dockerfile.api", REPOSITORY / "Dockerfile.worker")

VARIABLE = re.compile(r"\$\$|\$\{(?P<name>[A-Z_]+)(?P<operator>:?-)?(?P<default>[^}]*)\}")


def read_compose(path: Path = COMPOSE_FILE) -> dict[str, Any]:
    """A compose file with its anchors resolved, variables not filled in."""
    parsed: dict[str, Any] = yaml.safe_load(path.read_text())
    return parsed


def fill_in(text: str, environment: Mapping[str, str]) -> str:
    """Compose's interpolation, as far as our files use it: `$$`, `${A}`, `${A-default}`, `${A:-default}`."""

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        given = environment.get(match["name"])
        default_counts = given is None or (match["operator"] == ":-" and not given)
        return match["default"] if default_counts or given is None else given

    return VARIABLE.sub(replacement, text)


def variables_in(text: str) -> set[str]:
    """Names of the variables that Compose fills in."""
    return {match["name"] for match in VARIABLE.finditer(text) if match["name"]}


def gateway_configuration(environment: Mapping[str, str]) -> str:
    """The gateway's nginx.conf as Compose writes it."""
    return fill_in(read_compose()["configs"]["gateway"]["content"], environment)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a Dockerfile."""

    name: str
    base: str
    instructions: list[tuple[str, str]]

    def values(self, keyword: str) -> list[str]:
        """Arguments of every instruction of a kind, in order."""
        return [value for name, value in self.instructions if name == keyword]


def read_dockerfile(path: Path) -> dict[str, Stage]:
    """The stages of a Dockerfile by name."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    instructions = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    stages: dict[str, Stage] = {}
    for instruction in instructions:
        keyword, _, value = instruction.partition(" ")
        if keyword == "FROM":
            base, _, name = shlex.split(value)
            current = stages[name] = Stage(name, base, [])
        else:
            current.instructions.append((keyword, value.strip()))
    return stages


def lineage(stages: Mapping[str, Stage], name: str) -> list[Stage]:
    """A stage and those of the same file that it is built on, nearest first."""
    found = [stages[name]]
    while found[-1].base in stages:
        found.append(stages[found[-1].base])
    return found


def final_value(stages: Mapping[str, Stage], name: str, keyword: str) -> str | None:
    """What the image of a stage ends up with for an instruction of which the last one counts."""
    values = [stage.values(keyword)[-1] for stage in lineage(stages, name) if stage.values(keyword)]
    return values[0] if values else None
