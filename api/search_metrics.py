"""Counts of the two-stage search."""

from prometheus_client import CollectorRegistry, Counter, Histogram

SHARED_QUERIES = (1, 2, 4, 8, 16, 32)
SCORED_ROWS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class SearchMetrics:
    """How far searches went, and how many shared a pass."""

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
