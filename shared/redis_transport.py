"""kombu's Redis transport, with one correction for a broker that goes away.

When a connection is lost, Celery closes it while channels still want to hand their messages back.  kombu 5.7 then asks
the closed connection for its address and fails with an `AttributeError`, which ends the worker.  As a connection error
it is what everybody expects: the messages come back after the visibility timeout.
"""

from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis


class Channel(kombu_redis.Channel):  # type: ignore[misc] # kombu ships no types
    """A channel that says so when its connection has been closed."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - kombu's signature
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("The connection to the broker has been closed.")
        parameters: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        return parameters


class Transport(kombu_redis.Transport):  # type: ignore[misc] # as above
    """The transport of every Celery connection of this program."""

    Channel = Channel


def use_this_transport() -> None:
    """Let `redis://` mean this transport.  (Naming it in the configuration would put its name into every address.)"""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
