"""Fixtures of the fault tests; FAULTS=full (`make test-faults`) tries more and longer."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.acceptance.deployment import Deployment, deployed
from tests.acceptance.fault_report import FAULT_PROPERTY, Fault, wants_full
from tests.acceptance.load import Background

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
    return Extent(full=wants_full())


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Iterator[list[Fault]]:
    """Where a test reports what it saw; `FaultTable` collects it from the test's report."""
    seen: list[Fault] = []
    yield seen
    request.node.user_properties += [(FAULT_PROPERTY, asdict(fault)) for fault in seen]


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
