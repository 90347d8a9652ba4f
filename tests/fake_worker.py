"""A real Celery worker with an encoder that needs no weights: `python -m tests.fake_worker`.

While the file named by FAKE_WORKER_GATE exists, batches wait: for ever where it is empty, else the seconds it says.
FAKE_WORKER_NAMESPACE is the namespace that it embeds in, FAKE_WORKER_TOKENS_PER_SECOND its speed (unlimited if unset),
FAKE_WORKER_MEMORY_TOKENS the most tokens that a batch may have before it runs out of memory, FAKE_WORKER_JOURNAL a file
that gets a line for each text that it has embedded.  A text that holds `kills the worker` does so, when its batch
enters the model.
"""

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.log_setup import set_up_logging
from shared.settings import load_settings
from tests.embedding_fakes import FakeEncoder, FakeLaunched
from worker.consumer import consume
from worker.job_fields import JobFields

KILLER = b"kills the worker"


@dataclass
class GatedEncoder(FakeEncoder):
    """Waits as the gate file says, and as long as a model of its speed would take."""

    gate_file: Path = Path()
    journal: Path | None = None
    limited: bool = False
    _pause: threading.Event = field(default_factory=threading.Event)

    def launch(self, batch: Sequence[NDArray[np.int32]]) -> FakeLaunched:
        texts = [token_ids.astype(np.uint8).tobytes() for token_ids in batch]
        if any(KILLER in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        while self.gate_file.exists():
            if seconds := self.gate_file.read_text():
                self._pause.wait(float(seconds))
                break
            self._pause.wait(0.01)
        if self.limited:
            self._pause.wait(sum(map(len, batch)) / self.tokens_per_second)
        launched = super().launch(batch)
        self.batches.clear()  # nobody looks at them here, and a soak makes many
        if self.journal:
            with self.journal.open("ab") as lines:
                lines.write(b"".join(hashlib.sha256(text).hexdigest().encode() + b"\n" for text in texts))
        return launched


def journal_line(text: str) -> str:
    """The line that the journal gets for a text (of at most 512 bytes)."""
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> int:
    """Consume jobs as the environment says."""
    settings = load_settings()
    set_up_logging(settings, JobFields())
    speed = os.environ.get("FAKE_WORKER_TOKENS_PER_SECOND")
    encoder = GatedEncoder(
        namespace=os.environ.get("FAKE_WORKER_NAMESPACE", "fake"),
        gate_file=Path(os.environ["FAKE_WORKER_GATE"]),
        journal=Path(os.environ["FAKE_WORKER_JOURNAL"]) if "FAKE_WORKER_JOURNAL" in os.environ else None,
        memory_tokens=int(os.environ.get("FAKE_WORKER_MEMORY_TOKENS", "1000000")),
        tokens_per_second=float(speed or 1_000_000.0),
        limited=speed is not None,
        pads=False,
    )
    return consume(settings, encoder)


if __name__ == "__main__":
    sys.exit(main())
