"""Lets concurrent searches share a pass over the corpus.

Whoever comes while nobody scans scans at once, for itself; who comes meanwhile waits, and the next pass serves all who
wait.  Nobody waits for company, so that a lone request is as quick as without.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from api.accessibility import Selection
from api.score_bounds import BoundScan, ScoreBounds

MOST_QUERIES = 32
GATHERING_COST = 1.6
"""Reading a row that was picked out, compared with reading one in a row of neighbours: 1.35 to 1.9 were measured."""


@dataclass(slots=True, eq=False)
class _Waiting:
    query: NDArray[np.float32]
    selection: Selection
    woken: threading.Event = field(default_factory=threading.Event)
    outcome: ScoreBounds | BaseException | None = None


class SharedScan:
    """Score bounds for queries from any number of threads."""

    def __init__(
        self, scan: BoundScan, *, most_queries: int = MOST_QUERIES, observe: Callable[[int], None] = lambda _: None
    ) -> None:
        self._scan = scan
        self._most_queries = most_queries
        self._observe = observe
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._scanning = False

    def bounds(self, queries: NDArray[np.float32], selection: Selection) -> list[ScoreBounds]:
        """Bounds of the selected rows' scores for each query, shape (n, dimension); waits for the pass before it."""
        mine = [_Waiting(query, selection) for query in queries]
        with self._lock:
            self._waiting.extend(mine)
            leads, self._scanning = not self._scanning, True
        for waiting in mine:  # each to its end, for the turn to lead a pass may fall to any of them
            if not leads:
                waiting.woken.wait()
            if waiting.outcome is None:
                self._lead()
            leads = False
        return [_result(waiting) for waiting in mine]

    def _lead(self) -> None:
        """Scan for the first of those who wait (the caller is at their head), then let the next one lead."""
        try:
            with self._lock:
                served = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most_queries))]
            self._serve(served)
        finally:
            with self._lock:
                self._scanning = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].woken.set()

    def _serve(self, served: Sequence[_Waiting]) -> None:
        try:
            self._observe(len(served))
            outcomes: Sequence[ScoreBounds | BaseException] = self._bounds_of(served)
        except BaseException as error:  # noqa: BLE001 - those who wait must hear of it
            outcomes = [error] * len(served)
        for waiting, outcome in zip(served, outcomes, strict=True):
            waiting.outcome = outcome
            waiting.woken.set()

    def _bounds_of(self, served: Sequence[_Waiting]) -> list[ScoreBounds]:
        """All rows at once, or the selected rows of each selection where that is less to read."""
        queries = np.stack([waiting.query for waiting in served])
        selections = {id(waiting.selection): waiting.selection for waiting in served}
        picked_rows = sum(selection.count for selection in selections.values())
        if GATHERING_COST * picked_rows >= len(self._scan.rows.scales):
            return self._scan.scan_all(queries)
        bounds: dict[int, ScoreBounds] = {}
        for selection in selections.values():
            places = [place for place, waiting in enumerate(served) if waiting.selection is selection]
            bounds.update(zip(places, self._scan.scan_rows(queries[places], selection.list_rows()), strict=True))
        return [bounds[place] for place in range(len(served))]


def _result(waiting: _Waiting) -> ScoreBounds:
    if isinstance(waiting.outcome, ScoreBounds):
        return waiting.outcome
    raise waiting.outcome or RuntimeError("a pass ended without an outcome")
