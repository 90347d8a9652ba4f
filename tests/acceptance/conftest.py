"""Fixtures of the fault tests.

FAULTS=full (`make test-faults`) tries more and longer, and writes what was seen; so does FAULTS_TABLE without FAULTS.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.deployment import Deployment, deployed
from tests.acceptance.fault_report import Fault, write_table
from tests.acceptance.load import Background

LEAST_TESTS = 50
"""More than any one file has: fewer are a selection."""

Deploy = Callable[..., AbstractContextManager[Deployment]]


@dataclass(frozen=True)
class Extent:
    """How often and how long faults are tried."""

    full: bool

    def choose(self, short: int, full: int) -> int:
        """A number for `make test`, and one for `make test-faults`."""
        return full if self.full else short

    def only_in_full(self) -> None:
        """Skip the test in `make test`: it takes long, and a shorter one looks at the same mechanism."""
        if not self.full:
            pytest.skip("only in make test-faults")


@pytest.fixture(scope="session")
def extent() -> Extent:
    return Extent(full=os.environ.get("FAULTS") == "full")


@pytest.fixture(scope="session")
def faults(extent: Extent, request: pytest.FixtureRequest) -> Iterator[list[Fault]]:
    """Where tests report what they saw; the document's table is written when all of them were run and none failed."""
    seen: list[Fault] = []
    yield seen
    everything = not request.config.option.keyword and request.session.testscollected > LEAST_TESTS
    wanted = extent.full or "FAULTS_TABLE" in os.environ
    if wanted and everything and not request.session.testsfailed:
        write_table(seen, "`make test-faults`" if extent.full else "the shorter form, `FAULTS_TABLE=1 make test`")


@pytest.fixture(scope="session")
def prepared_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with the snapshot of the demo corpus."""
    folder = tmp_path_factory.mktemp("prepared")
    with deployed(folder) as deployment:
        deployment.start_worker()
        deployment.prepare()
    return folder / "state"


@pytest.fixture
def deploy(tmp_path: Path, prepared_state: Path) -> Deploy:
    """Makes a deployment of the test's own; settings of the server are keyword arguments."""

    def make(
        name: str = "deployment", *, append_only: bool = True, **overrides: str
    ) -> AbstractContextManager[Deployment]:
        folder = tmp_path / name
        folder.mkdir()
        return deployed(folder, snapshot=prepared_state, append_only=append_only, **overrides)

    return make


@pytest.fixture
def background() -> Iterator[Background]:
    with Background() as background:
        yield background
