"""What is counted of HTTP requests."""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.rejection import Rejection
from api.retrieval import STAGES, StageTimes

if TYPE_CHECKING:
    from api.route_table import RouteTable

UNKNOWN_ROUTE = "unknown"
"""Stands for every path that no route knows: what strangers try must not become a label each."""

UNDOCUMENTED_STATUSES = (499, 500)
"""How requests that take time may end besides: their client left, or the server failed on them."""

REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class RequestMetrics:
    """What is counted of requests.  Children are kept: finding one by its labels costs more than counting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "premises_http_requests",
            "Requests answered, by route template, method and status (499: the client left before the answer)",
            ["route", "method", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "premises_http_request_duration_seconds",
            "Time from a request's first byte to the end of its answer",
            ["route"],
            buckets=REQUEST_SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "premises_http_request_stage_duration_seconds",
            "Time that requests spent in each stage of their work",
            ["route", "stage"],
            buckets=STAGE_SECONDS,
            registry=registry,
        )
        self._in_progress = Gauge(
            "premises_http_requests_in_progress",
            "Requests that have begun and have not been answered in full",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._rejected = Counter(
            "premises_http_requests_rejected",
            "Requests that got no result, by reason",
            ["reason"],
            registry=registry,
        )
        self._partial = Counter(
            "premises_partial_answers",
            "Answers that left out new premises which were not embedded in time (PARTIAL_RESULTS)",
            registry=registry,
        )
        self._answers = Counter(
            "premises_corpus_answers",
            "Answers from a corpus, of any status; the default one's prefix is empty",
            ["prefix"],
            registry=registry,
        )
        self._answers.labels("")
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._route_timers: dict[str, Histogram] = {}
        self._stage_timers: dict[tuple[str, str], Histogram] = {}
        self._rejections = {reason: self._rejected.labels(reason) for reason in Rejection}

    def expect(self, table: "RouteTable") -> None:
        """Begin every series at 0, so that the first request of its kind is seen as an increase."""
        for route in table.routes:
            ends_otherwise = UNDOCUMENTED_STATUSES if route.has_stages else ()
            for method in route.methods:
                for status in (*route.statuses, *ends_otherwise):
                    self._counter(route.path, method, status)
        for method in ("GET", "POST"):
            self._counter(UNKNOWN_ROUTE, method, 404)
        for path in [*table.paths, UNKNOWN_ROUTE]:
            self._route_timer(path)
        for path in table.paths_with_stages:
            for stage in STAGES:
                self._stage_timer(path, stage)

    def begin(self) -> None:
        """A request has come."""
        self._in_progress.inc()

    def end(self, route: str, method: str, status: int, seconds: float, stages: StageTimes | None) -> None:
        """It has been answered."""
        self._in_progress.dec()
        self._counter(route, method, status).inc()
        self._route_timer(route).observe(seconds)
        if stages is not None:
            for stage, stage_seconds in list(stages.seconds.items()):  # a search may still run for who has left
                self._stage_timer(route, stage).observe(stage_seconds)
            if stages.partial:
                self._partial.inc()

    def answered_from(self, prefix: str) -> None:
        """A corpus took part in an answer."""
        self._answers.labels(prefix).inc()

    def reject(self, reason: Rejection) -> None:
        """It got no result."""
        self._rejections[reason].inc()

    def _counter(self, route: str, method: str, status: int) -> Counter:
        key = (route, method, status)
        if (counter := self._counters.get(key)) is None:
            counter = self._counters[key] = self._requests.labels(route, method, str(status))
        return counter

    def _route_timer(self, route: str) -> Histogram:
        if (timer := self._route_timers.get(route)) is None:
            timer = self._route_timers[route] = self._seconds.labels(route)
        return timer

    def _stage_timer(self, route: str, stage: str) -> Histogram:
        key = (route, stage)
        if (timer := self._stage_timers.get(key)) is None:
            timer = self._stage_timers[key] = self._stage_seconds.labels(route, stage)
        return timer
