"""What this process counts, in Prometheus' terms; `/metrics` shows it."""

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SHARED_QUERIES = (1, 2, 4, 8, 16, 32)
SCORED_ROWS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class SearchMetrics:
    """Counts of the two-stage search."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._widened = Counter(
            "premises_search_widened",
            "Searches whose first candidates were not provably complete, so that more rows were scored exactly",
            registry=registry,
        )
        self._scored = Histogram(
            "premises_search_scored_rows", "Rows scored exactly by a search", buckets=SCORED_ROWS, registry=registry
        )
        self._shared = Histogram(
            "premises_search_shared_queries", "Queries that shared a pass", buckets=SHARED_QUERIES, registry=registry
        )

    def searched(self, scored_rows: int, *, widened: bool) -> None:
        """Note one search of two stages."""
        self._scored.observe(scored_rows)
        if widened:
            self._widened.inc()

    def scanned(self, queries: int) -> None:
        """Note one pass over the 8-bit rows."""
        self._shared.observe(queries)


class Metrics:
    """All metrics of one API process, with a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.search = SearchMetrics(self._registry)

    def text(self) -> bytes:
        """The exposition, as `/metrics` answers it."""
        return generate_latest(self._registry)
