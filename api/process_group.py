"""Several uvicorn processes on one port, when API_PROCESSES says so: started, replaced and ended by one parent.

The parent holds the port and nothing else.  Each child is a whole API process, with a subscription, limits and a cache
of its own; the mapped snapshot is shared by all.  They count for `/metrics` into files of one folder, which
prometheus_client learns of by an environment variable that must be there before it is imported: in the children it is.
"""

import os
import shutil
import signal
import tempfile
import threading
from asyncio import Protocol
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Literal, TypedDict

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from api.metrics import MULTIPROCESS_FOLDER

PATIENCE_SECONDS = 10
"""A child that does not answer its parent for so long hangs, and is replaced."""


class ServerOptions(TypedDict):
    """The options of uvicorn that we set."""

    host: str
    port: int
    log_config: None
    access_log: bool
    timeout_graceful_shutdown: int
    timeout_keep_alive: int
    server_header: bool
    ws: Literal["none"]
    http: type[Protocol]


class ProcessGroup(Multiprocess):
    """uvicorn's supervisor, which also takes what gauges say of a child away with it."""

    def __init__(self, config: uvicorn.Config, folder: Path) -> None:
        super().__init__(config, sockets=[config.bind_socket()])
        self._folder = folder
        self._seen: set[int | None] = set()

    def keep_subprocess_alive(self) -> None:
        """Replace children that have died; called twice a second."""
        super().keep_subprocess_alive()
        present = {process.pid for process in self.processes}
        gone, self._seen = self._seen - present, present
        for pid in gone:
            mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call] # prometheus_client leaves it so


@contextmanager
def multiprocess_folder() -> Iterator[Path]:
    """A fresh folder for the counts of children that are started inside the block; it is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="premises-metrics-"))
    os.environ[MULTIPROCESS_FOLDER] = str(folder)
    try:
        yield folder
    finally:
        del os.environ[MULTIPROCESS_FOLDER]
        shutil.rmtree(folder, ignore_errors=True)


def run_process_group(make_app: str, processes: int, options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT; each child makes its application by the function named as `module:function`."""
    config = uvicorn.Config(
        make_app, factory=True, workers=processes, timeout_worker_healthcheck=PATIENCE_SECONDS, **options
    )
    with multiprocess_folder() as folder:
        ProcessGroup(config, folder).run()


def end_with_parent() -> None:
    """End this child in an orderly way when its parent is gone: nobody would ever end it, and it holds the port."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for_end, args=(parent.sentinel,), name="parent", daemon=True).start()


def _wait_for_end(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
