"""Fixtures of all tests."""

import signal
from pathlib import Path

import pytest

from tests.acceptance.fault_report import FaultTable


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background jobs ignore it, and so would every process that a test starts in order to interrupt it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # the processes of pytest-xdist report to one that writes
        config.pluginmanager.register(FaultTable())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The project's real data, beside the checkout; tests that want it skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data beside the checkout")
    return folder
