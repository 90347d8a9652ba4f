"""infinity-emb, an embedding server that one could use instead, in a virtual environment of its own.

It is given what it is quickest with on a CPU: see ENGINE.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from api.commands.redis_server import free_loopback_port
from tests.embedding_fakes import wait_until
from tests.processes import running, status_of

INFINITY = "infinity-emb[torch,server,cache]==0.0.78"
PINS = ("optimum==1.27.0", "transformers==4.48.3", "sentence-transformers==3.4.1", "numpy==1.26.4")
"""The last releases with BetterTransformer, its quickest way on a CPU, and what they work with."""
ENGINE = ("--engine", "torch", "--bettertransformer", "--no-compile", "--batch-size", "32")
START_SECONDS = 120.0
SERVED_NAME = "demo"


def install_infinity(folder: Path) -> Path:
    """Make the environment; returns the program.  torch is the version that this process has, and comes first and
    alone: from TORCH_INDEX_URL, if that is set, as for `make install`."""
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = f"torch=={version('torch').partition('+')[0]}"
    index = os.environ.get("TORCH_INDEX_URL")
    run(pip + (["--index-url", index] if index else []) + [torch])
    run([*pip, torch, INFINITY, *PINS])
    return folder / "bin" / "infinity_emb"


def run(command: list[str]) -> None:
    """What it prints goes to standard error: the report is not the place for it."""
    subprocess.run(command, check=True, stdout=sys.stderr)


@contextmanager
def running_infinity(program: Path, model: Path, folder: Path, *, cache: bool = False) -> Iterator[str]:
    """A server of one model folder in float32 on all cores; yields its base URL once it has warmed up.

    `cache` switches on its store of vectors on disk, which is off by default.
    """
    folder.mkdir()
    port = free_loopback_port()
    command = [
        str(program), "v2", "--model-id", str(model), "--served-model-name", SERVED_NAME, *ENGINE,
        "--device", "cpu", "--dtype", "float32", "--vector-disk-cache" if cache else "--no-vector-disk-cache",
        "--host", "127.0.0.1", "--port", str(port), "--url-prefix", "/v1", "--log-level", "warning",
    ]  # fmt: skip
    environment = {
        "HF_HOME": str(folder),
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": str(os.cpu_count()),
    }
    with running(command, folder / "infinity.log", environment) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.popen.poll() is not None or status_of(f"{url}/health") == 200, START_SECONDS)
        assert process.popen.poll() is None, process.output()
        yield url
