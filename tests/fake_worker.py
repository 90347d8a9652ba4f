"""A real Celery worker with an encoder that needs no weights: `python -m tests.fake_worker`.

While the file named by FAKE_WORKER_GATE exists, batches wait: for ever where it is empty, else the seconds it says.
FAKE_WORKER_NAMESPACE is the namespace that it embeds in.
"""

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.log_setup import set_up_logging
from shared.settings import load_settings
from tests.embedding_fakes import FakeEncoder, FakeLaunched
from worker.consumer import consume


@dataclass
class GatedEncoder(FakeEncoder):
    """Waits as the gate file says."""

    def launch(self, batch: Sequence[NDArray[np.int32]]) -> FakeLaunched:
        gate, pause = Path(os.environ["FAKE_WORKER_GATE"]), threading.Event()
        while gate.exists():
            if seconds := gate.read_text():
                pause.wait(float(seconds))
                break
            pause.wait(0.01)
        return super().launch(batch)


if __name__ == "__main__":
    settings = load_settings()
    set_up_logging(settings)
    encoder = GatedEncoder(namespace=os.environ.get("FAKE_WORKER_NAMESPACE", "fake"))
    sys.exit(consume(settings, encoder))
