"""Ports for servers that tests start.

Between the choice of a port and the start of its server there are seconds on a busy machine, in which the system may
give the port to another test.  So a process of pytest gives each port once, and those of pytest-xdist share none.
"""

import os

from api.commands.redis_server import free_loopback_port

_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other test is given."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % processes
    port = free_loopback_port()
    while port in _given or port // 2 % processes != mine:  # by halves: the system prefers odd ones
        port = free_loopback_port()
    _given.add(port)
    return port
