"""The local server: Redis, worker, API and the corpus, started on one machine by one command."""

import asyncio
import errno
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from api.api_keys import ApiKeys
from api.commands.child_process import ChildSpec
from api.commands.flower import LOOPBACK, check_flower, flower_notice, flower_url, made_up_login
from api.commands.orphan_guard import OrphanGuard
from api.commands.readiness import base_url, wait_until_ready
from api.commands.redis_server import find_redis_binary, free_loopback_port, redis_command, wait_for_redis
from api.commands.running_server import RunningServer
from api.commands.state_folder import StateFolder
from api.commands.supervisor import Supervisor
from api.commands.terminal import Terminal, welcome
from api.cross_origin import parse_origins
from api.snapshot import withdraw_snapshot
from shared.errors import ChildFailedError, SettingsError
from shared.model_catalogue import CatalogueModel
from shared.settings import RETIRED_VARIABLES, Settings

REDIS_CANNOT_START = 1
"""Redis's exit code for a port that is taken, a folder that it cannot write and data that it cannot read."""

WORKER_EXIT_SECONDS = 5
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - the variable's name


def serve(settings: Settings, environment: Mapping[str, str]) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; leaves no process behind.

    Raises `SettingsError` before anything is started (unusable keys, port in use, folder in use) and `ChildFailedError`
    when a process cannot do its work; its own sentence stands above on the terminal then.
    """
    parse_origins(settings.cors_origins)
    check_port_is_free(settings.host, settings.port)
    if settings.flower:
        check_flower(settings)
        check_flower_port(settings)
    folder = StateFolder(settings.data_dir)
    with folder.locked() as lock, OrphanGuard(keep_open=(lock,)) as guard:
        asyncio.run(LocalServer(settings, environment, folder, guard).run())


def check_port_is_free(host: str, port: int, variable: str = "PORT") -> None:
    """Raise `SettingsError`, saying how to choose another, unless a server could listen there now."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingsError(f"HOST={host} cannot be used: {error.strerror}.") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise SettingsError(f"HOST={host} cannot be used: this machine does not have that address.") from None
            raise SettingsError(
                f"Port {port} on {host} cannot be used ({error.strerror}): stop what uses it, "
                f"or choose another, for example `make serve {variable}={port + 1 if port < 65535 else 8000}`."
            ) from None


def check_flower_port(settings: Settings) -> None:
    """The same for Flower; one port cannot be both."""
    if settings.flower_port == settings.port:
        raise SettingsError(f"FLOWER_PORT={settings.flower_port} is the API's own PORT: choose another.")
    check_port_is_free(LOOPBACK, settings.flower_port, "FLOWER_PORT")


def child_environment(environment: Mapping[str, str], settings: Settings, redis_url: str) -> dict[str, str]:
    """The parent's environment with the addresses of this server, and without the token, which is `fetch`'s alone.

    Of retired variables was warned already.
    """
    kept = {name: value for name, value in environment.items() if name not in (*RETIRED_VARIABLES, HUB_TOKEN)}
    return {
        **kept,
        "PYTHONUNBUFFERED": "1",
        "REDIS_URL": redis_url,
        "HOST": settings.host,
        "PORT": str(settings.port),
        "DATA_DIR": str(settings.data_dir.absolute()),
    }


class LocalServer:
    """The processes of one local server, in the order in which they need each other."""

    def __init__(
        self, settings: Settings, environment: Mapping[str, str], folder: StateFolder, guard: OrphanGuard
    ) -> None:
        self._settings = settings
        self._hub_token = environment.get(HUB_TOKEN, "")
        self._wants_key = ApiKeys.from_settings(settings) is not None
        self._terminal = Terminal()
        self._folder = folder
        self._redis_log = folder.logs / "redis.log"
        redis_port = free_loopback_port()
        self._redis_url = f"redis://127.0.0.1:{redis_port}/0"
        self._redis = ChildSpec(
            "redis",
            redis_command(find_redis_binary(), redis_port, folder.redis),
            stop_seconds=5,
            output=self._redis_log,
            fatal_exit_codes=frozenset({REDIS_CANNOT_START}),
        )
        self._supervisor = Supervisor(
            child_environment(environment, settings, self._redis_url), self._terminal.write, guard
        )

    async def run(self) -> None:
        """Start everything, stay until a signal or a failure, stop everything in the order API, worker, Redis."""
        stop_wanted = self._stop_on_signals()
        work = asyncio.create_task(self._start_and_stay())
        await asyncio.wait({work, asyncio.create_task(stop_wanted.wait())}, return_when=asyncio.FIRST_COMPLETED)
        self._terminal.write("stopping ...")
        work.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await work
        finally:
            RunningServer.forget(self._settings.data_dir)
            await self._supervisor.stop_all()
            self._terminal.write("stopped")

    def _flower_child(self) -> ChildSpec:
        """Flower, and a word on how to get in."""
        made_up = None if self._settings.flower_basic_auth.get_secret_value() else made_up_login()
        self._terminal.write(flower_notice(self._settings, made_up))
        child = python_child("flower", "api.commands.main", "flower", stop_seconds=5)
        return replace(child, environment={"FLOWER_BASIC_AUTH": made_up} if made_up else {})

    async def _start_and_stay(self) -> None:
        failed: ChildFailedError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._supervisor.keep_running(self._redis))
                await wait_for_redis(self._redis_url)
                RunningServer.of(self._settings, self._redis_url).write(self._settings.data_dir)
                withdraw_snapshot(self._settings.data_dir)
                if self._hub_token:
                    await self._supervisor.run_to_end(fetch_child(self._hub_token))
                if self._settings.flower:
                    group.create_task(self._supervisor.keep_running(self._flower_child()))
                for worker in worker_children(self._settings):
                    group.create_task(self._supervisor.keep_running(worker))
                group.create_task(self._supervisor.keep_running(python_child("api", "api.main", stop_seconds=10)))
                prepared = group.create_task(self._supervisor.run_to_end(prepare_child()))
                await wait_until_ready(self._settings.host, self._settings.port, self._terminal.write)
                await prepared
                group.create_task(self._supervisor.keep_running(corpora_child()))
                self._terminal.write(self._welcome())
        except* ChildFailedError as failures:
            failed = ChildFailedError(str(failures.exceptions[0]))
        if failed is not None:  # raised in the except* clause it would come out as a group
            raise failed

    def _welcome(self) -> str:
        page = flower_url(self._settings) if self._settings.flower else None
        url = base_url(self._settings.host, self._settings.port)
        return welcome(url, str(self._redis_log), wants_key=self._wants_key, flower_url=page)

    def _stop_on_signals(self) -> asyncio.Event:
        """The first signal sets the event, the second one kills."""
        stop_wanted = asyncio.Event()

        def stop() -> None:
            if stop_wanted.is_set():
                self._supervisor.kill_all()
            stop_wanted.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
                asyncio.get_running_loop().add_signal_handler(number, stop)
        return stop_wanted


def python_child(name: str, module: str, *arguments: str, stop_seconds: float) -> ChildSpec:
    """A part of this program as a process: `-P` keeps folders of the working directory from shadowing packages."""
    return ChildSpec(name, [sys.executable, "-P", "-m", module, *arguments], stop_seconds)


def worker_children(settings: Settings) -> list[ChildSpec]:
    """A worker for each model; each ends by itself within WORKER_STOP_SECONDS."""
    default, *others = settings.catalogue()
    worker = python_child("worker", "worker.main", stop_seconds=settings.worker_stop_seconds + WORKER_EXIT_SECONDS)
    further = [
        replace(worker, name=f"worker {model.public_name}", environment=model_variables(model)) for model in others
    ]
    return [replace(worker, environment=model_variables(default)), *further]


def model_variables(model: CatalogueModel) -> dict[str, str]:
    """The variables of a worker of this model."""
    return {"MODEL_ID": model.model_id, "MODEL_REVISION": model.model_revision, "POOLING": model.pooling}


def fetch_child(hub_token: str) -> ChildSpec:
    """Downloads what is named on the hub; the only process that gets the token.  Preparing is the next child's work."""
    child = python_child("fetch", "api.commands.main", "fetch", "--no-prepare", stop_seconds=5)
    return replace(child, output="inherited", environment={HUB_TOKEN: hub_token})


def corpora_child() -> ChildSpec:
    """Prepares the corpora that are wanted at prefixes, once the default one is served."""
    return python_child("corpora", "api.commands.main", "corpora", "watch", stop_seconds=10)


def prepare_child() -> ChildSpec:
    """The preparation of the corpus, whose progress bar needs the terminal itself."""
    return replace(python_child("prepare", "api.commands.main", "prepare", stop_seconds=5), output="inherited")
