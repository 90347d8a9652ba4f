"""`premises flower`: Flower, the queue's web page, which asks for a password always."""

import os
import secrets
from importlib.util import find_spec

from shared import celery_app
from shared.errors import SettingsError
from shared.settings import Settings

LOOPBACK = "127.0.0.1"
MADE_UP_USER = "premises"
PASSWORD_BYTES = 18


def run_flower(settings: Settings, address: str, port: int) -> None:
    """Serve the page until SIGTERM; raises `SettingsError` where FLOWER_BASIC_AUTH names nobody.

    It is what `celery -A shared.celery_app flower` runs, which would ask for no password where none is set.
    """
    check_flower(settings)
    if not settings.flower_basic_auth.get_secret_value():
        raise SettingsError("Flower asks for a password always: set FLOWER_BASIC_AUTH=user:password.")
    os.environ["FLOWER_PORT"] = str(port)  # Flower reads it too, and cannot read an empty one
    celery_app.configure(settings).start(["flower", f"--address={address}", f"--port={port}", "--logging=warning"])


def check_flower(settings: Settings) -> None:
    """Raise `SettingsError` where Flower is not installed, or an entry of FLOWER_BASIC_AUTH is no user with a password.

    The value itself is not repeated.
    """
    if find_spec("flower") is None:
        raise SettingsError("Flower is not installed: `make install` does that, or drop FLOWER=1.")
    logins = settings.flower_basic_auth.get_secret_value()
    parted = [login.partition(":") for login in logins.split(",")] if logins else []
    if not all(user and password for user, _, password in parted):
        raise SettingsError(
            "FLOWER_BASIC_AUTH cannot be used: write user:password, several with commas between, none in a password."
        )


def made_up_login() -> str:
    """`user:password`, with a password that nobody knows yet."""
    return f"{MADE_UP_USER}:{secrets.token_urlsafe(PASSWORD_BYTES)}"


def flower_url(settings: Settings) -> str:
    """Where the local server's page is: on this machine alone."""
    return f"http://{LOOPBACK}:{settings.flower_port}"


def flower_notice(settings: Settings, made_up: str | None) -> str:
    """What the local server says of it at its start: once, and a password only where it was made up."""
    login = f"log in with {made_up.replace(':', ' and ')}" if made_up else "log in as FLOWER_BASIC_AUTH says"
    return f"Flower, the queue's web page: {flower_url(settings)} ({login})"
