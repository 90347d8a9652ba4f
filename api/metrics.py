"""What an API process counts, in Prometheus' terms, and the exposition that `/metrics` answers with.

Several processes on one port (API_PROCESSES) count into files of a common folder, which prometheus_client names in
PROMETHEUS_MULTIPROC_DIR; whichever of them is asked adds all up.  What concerns the whole deployment is not counted
here at all: it is read when it is asked for (`api/deployment_metrics.py`), so that it is there once.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.process_metrics import ProcessMetrics
from api.request_metrics import RequestMetrics
from api.search_metrics import SearchMetrics
from shared.errors import SettingsError

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """All metrics of one API process, with a registry of their own."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        # They would be a second series for each counter, which nobody asks for.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus_client leaves it so
        self._registry = CollectorRegistry()
        self.requests = RequestMetrics(self._registry)
        self.process = ProcessMetrics(self._registry)
        self.search = SearchMetrics(self._registry)

    def text(self, deployment: Iterable[Metric] = ()) -> bytes:
        """The exposition: what all processes on this port have counted, and the families of the deployment."""
        return generate_latest(_Exposition(self._registry, deployment))


def check_multiprocess_folder() -> None:
    """Raise `SettingsError` where somebody has set PROMETHEUS_MULTIPROC_DIR to what is no folder."""
    folder = os.environ.get(MULTIPROCESS_FOLDER)
    if folder is not None and not Path(folder).is_dir():
        raise SettingsError(f"{MULTIPROCESS_FOLDER}={folder!r} is no folder: unset it, API_PROCESSES needs none.")


class _Exposition:
    """A collector of both kinds, for one answer."""

    def __init__(self, registry: CollectorRegistry, deployment: Iterable[Metric]) -> None:
        folder = os.environ.get(MULTIPROCESS_FOLDER)
        self._counted: Collector = registry
        if folder:
            self._counted = MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call] # as above
        self._deployment = deployment

    def collect(self) -> Iterator[Metric]:
        """Every family once."""
        yield from self._counted.collect()
        yield from self._deployment
