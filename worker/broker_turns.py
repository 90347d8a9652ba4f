"""Lets old jobs pass a broker list that is never empty.

The Redis transport serves its lists strictly by priority: while states come faster than the worker takes them, it never
looks at the list of premises behind them.  So a job that has waited there for long is moved to the head of the first
list, by one atomic command.  Its own priority stays as it is, and the batching queue goes by that.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import redis

from shared.messages import Priority, queue_name
from shared.redis_client import RedisError, priority_list

CHECK_SECONDS = 1.0
MOST_JOBS_A_TURN = 8

log = logging.getLogger(__name__)


@dataclass
class _Waiting:
    """The job at the head of a list, and since when it has been there."""

    job: object = None
    since: float = 0.0


@dataclass
class BrokerTurns:
    """Moves what has waited longer than `ageing_seconds`, in a thread of its own between `start` and `stop`."""

    client: redis.Redis
    namespace: str
    ageing_seconds: Mapping[Priority, float]
    clock: Callable[[], float] = time.monotonic
    _heads: dict[Priority, _Waiting] = field(default_factory=dict, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)

    def start(self) -> None:
        """Begin to look after the lists."""
        threading.Thread(target=self._run, name="broker-turns", daemon=True).start()

    def stop(self) -> None:
        """Look after them no longer."""
        self._stopping.set()

    def give_turns(self) -> int:
        """Look at each list once; returns how many jobs were moved.  Raises `RedisError` when Redis is away."""
        return sum(self._give_turn(priority) for priority in self.ageing_seconds)

    def _run(self) -> None:
        while not self._stopping.wait(min(CHECK_SECONDS, *self.ageing_seconds.values())):
            try:
                self.give_turns()
            except RedisError as error:
                log.debug("turns not given: %s", type(error).__name__)

    def _give_turn(self, priority: Priority) -> int:
        queue = queue_name(self.namespace, priority)
        waiting_list = priority_list(queue, priority)
        head = self.client.lindex(waiting_list, -1)
        known = self._heads.setdefault(priority, _Waiting())
        if head is None or head != known.job:
            known.job, known.since = head, self.clock()
            return 0
        if self.clock() - known.since < self.ageing_seconds[priority]:
            return 0
        known.job = None
        moved = [self.client.lmove(waiting_list, queue, "RIGHT", "RIGHT") for _ in range(MOST_JOBS_A_TURN)]
        return sum(job is not None for job in moved)
