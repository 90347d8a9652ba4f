"""A deployment with corpora at prefixes: two API replicas, a worker without weights, and a process that prepares."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.deployment import Deployment, Replica, deployed
from tests.corpora import declaration, write_corpus
from tests.embedding_fakes import PATIENCE_SECONDS, wait_until
from tests.processes import Process, start

OPERATOR = "operator-key-of-the-tests-1"


@dataclass
class SeveralCorpora:
    """What the tests do with it."""

    deployment: Deployment
    replicas: list[Replica]
    watch: Process
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every request."""

    def write(self, name: str, modules: Mapping[str, Sequence[str]], revision: str) -> Path:
        """A corpus folder: theorems by module."""
        declarations = {module: [declaration(theorem) for theorem in names] for module, names in modules.items()}
        return write_corpus(self.deployment.folder / name, declarations, revision=revision)

    def run(self, *arguments: str, seconds: float = 2 * PATIENCE_SECONDS, **environment: str) -> Process:
        """`premises corpora …` to its end."""
        return run_corpora(self.deployment, *arguments, seconds=seconds, **environment)

    def get(self, path: str, replica: int = 0, **headers: str) -> httpx.Response:
        return httpx.get(
            self.replicas[replica].url + path, headers={**self.headers, **headers}, timeout=PATIENCE_SECONDS
        )

    def names(self, prefix: str, replica: int = 0) -> list[str]:
        """What a search of everything finds, sorted."""
        url = self.replicas[replica].url + prefix
        answer = httpx.post(
            f"{url}/retrieve", json={"state": "⊢ True", "k": 1000}, headers=self.headers, timeout=PATIENCE_SECONDS
        )
        assert answer.status_code == 200, answer.text
        return sorted(premise["name"] for premise in answer.json())

    def listed(self, prefix: str, replica: int = 0) -> dict[str, Any] | None:
        """The corpus as a replica's `/corpora` tells it."""
        corpora = self.get("/corpora", replica).json()["corpora"]
        return next((corpus for corpus in corpora if corpus["prefix"] == prefix), None)

    def states(self, prefix: str) -> list[str | None]:
        """Its state in each replica."""
        found = [self.listed(prefix, number) for number in range(len(self.replicas))]
        return [str(corpus["state"]) if corpus else None for corpus in found]

    def wait_for(self, prefix: str, state: str | None) -> None:
        """Until every replica says so; None: until it is listed no more."""
        wait_until(lambda: self.states(prefix) == [state] * len(self.replicas))


def run_corpora(
    deployment: Deployment, *arguments: str, seconds: float = 2 * PATIENCE_SECONDS, **environment: str
) -> Process:
    """`premises corpora …` to its end."""
    command = [sys.executable, "-m", "api.commands.main", "corpora", *arguments]
    log = deployment.folder / "corpora-command.log"
    log.unlink(missing_ok=True)
    process = start(command, log, deployment.environment | environment)
    try:
        process.popen.wait(seconds)
    finally:
        process.stop()
    return process


def start_watch(deployment: Deployment, **environment: str) -> Process:
    """The process that prepares what is wanted; ends with the deployment."""
    command = [sys.executable, "-m", "api.commands.main", "corpora", "watch"]
    process = start(command, deployment.folder / "watch.log", deployment.environment | environment)
    deployment.stack.callback(process.stop)
    return process


@contextmanager
def several_corpora(folder: Path, replicas: int = 2, **settings: str) -> Iterator[SeveralCorpora]:
    """Everything up, with the demo corpus as the default one and nothing at a prefix."""
    with deployed(folder) as deployment:
        deployment.overrides.update({"OPERATOR_KEYS": OPERATOR, **settings})
        deployment.start_worker()
        deployment.prepare()
        started = [deployment.start_replica() for _ in range(replicas)]
        yield SeveralCorpora(deployment, started, start_watch(deployment))
