"""Run a gateway: read the configuration, open it, serve the loop and the local API until told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import uvicorn
import uvloop

from wayleave.api.routes import application
from wayleave.config.load import ConfigurationError, load
from wayleave.daemon import logs
from wayleave.daemon.app import Gateway
from wayleave.daemon.authority import DictionaryError
from wayleave.daemon.nexus import StillLeased
from wayleave.daemon.reload import Reloader
from wayleave.dataplane.maps import TableFull
from wayleave.dataplane.objects import LoadError
from wayleave.io import privileges
from wayleave.io.devices import DeviceError
from wayleave.io.radius import RadiusError
from wayleave.io.replica import ReplicaError
from wayleave.io.secrets import SecretError
from wayleave.io.store import StoreError

log = structlog.get_logger()


class ListenError(Exception):
    """The API's socket cannot be made; the text says why."""


def main(path: Path) -> int:
    """Return the exit status: 0 after a clean stop, 2 for a bad configuration, 1 for what the machine refuses."""
    logs.configure()
    gateway = None
    try:
        loaded = load(path)
        settings = loaded.settings
        logs.set_level(settings.log.level)
        if lacking := privileges.missing():
            return _refused(None, f"run has to be root (sudo): it lacks {', '.join(lacking)}")
        gateway = Gateway(loaded, path.parent)
        listener = _listen(Path(settings.gateway.api))
        gateway.open()
        privileges.keep_only(privileges.SERVING)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except (
        DeviceError,
        DictionaryError,
        ListenError,
        LoadError,
        RadiusError,
        ReplicaError,
        SecretError,
        StillLeased,
        StoreError,
        TableFull,
    ) as error:
        return _refused(gateway, str(error))
    except PermissionError as error:
        return _refused(gateway, f"{error.filename}: {error.strerror}: run has to be root (sudo)")
    uvloop.run(_serve(gateway, Reloader(gateway, path.absolute()), listener))
    gateway.close()
    log.info("stopped", sessions=len(gateway.table), data_plane="stays until `bng detach`, or `bng stop` ends it")
    logs.LINES.flush()
    return 0


def _refused(gateway: Gateway | None, why: str) -> int:
    print(f"bng: {why}", file=sys.stderr)
    if gateway is not None:
        gateway.abandon()
    return 1


async def _serve(gateway: Gateway, reloader: Reloader, listener: socket.socket) -> None:
    """Run loop and API side by side; SIGHUP reads the configuration anew."""
    asked: set[asyncio.Task[object]] = set()  # the loop itself holds on to no task

    def reload() -> None:
        asked.add(task := asyncio.create_task(reloader.reload()))
        task.add_done_callback(asked.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    server = _Server(
        uvicorn.Config(application(gateway, reloader), log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await gateway.run()
    finally:
        server.should_exit = True
        await serving


def _listen(path: Path) -> socket.socket:
    """Return the API's socket; only its owner may open it.

    To be called once the store is this process's: whose socket may stand at `path` is then dead. Raises: ListenError.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        listener.close()
        raise ListenError(f"the API cannot listen at {path}: {error.strerror or error}: see gateway.api") from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the gateway has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
