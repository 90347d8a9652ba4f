"""The one Celery app, as far as it can be looked at without a broker."""

import pytest
import redis

from shared.celery_app import configure
from shared.redis_transport import Transport
from shared.settings import Settings


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_connections_use_our_transport_and_their_address_keeps_its_scheme(scheme: str) -> None:
    app = configure(Settings(redis_url=f"{scheme}://127.0.0.1:1/0"))
    with app.connection_for_write() as connection:
        assert isinstance(connection.transport, Transport)
        assert connection.as_uri().partition("://")[0] == scheme


def test_a_channel_of_a_closed_connection_says_so_as_a_connection_error() -> None:
    app = configure(Settings(redis_url="redis://127.0.0.1:1/0"))
    with app.connection_for_write() as connection:
        channel = Transport.Channel.__new__(Transport.Channel)
        channel.connection = connection.transport
        connection.transport.client = None
        with pytest.raises(redis.ConnectionError, match="has been closed") as closed:
            channel._connparams()
        assert isinstance(closed.value, Transport.connection_errors)
