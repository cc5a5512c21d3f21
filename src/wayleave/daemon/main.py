"""Run a gateway: read the configuration, open it, serve the loop and the local API until told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop

from wayleave.api.routes import application
from wayleave.config.load import ConfigurationError, load
from wayleave.daemon import logs
from wayleave.daemon.app import Gateway
from wayleave.dataplane.maps import TableFull
from wayleave.dataplane.objects import LoadError
from wayleave.io.devices import DeviceError
from wayleave.io.store import StoreError


def main(path: Path) -> int:
    """Return the exit status: 0 after a clean stop, 2 for a bad configuration, 1 for what the machine refuses."""
    logs.configure()
    gateway = None
    try:
        settings, subscribers = load(path)
        gateway = Gateway(settings, subscribers)
        gateway.open()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except (DeviceError, LoadError, StoreError, TableFull) as error:
        print(f"bng: {error}", file=sys.stderr)
        if gateway is not None:
            gateway.abandon()
        return 1
    uvloop.run(_serve(gateway, settings.gateway.api))
    gateway.close()
    logs.LINES.flush()
    return 0


async def _serve(gateway: Gateway, api: str) -> None:
    """Run loop and API side by side."""
    listener = _listen(Path(api))
    server = _Server(uvicorn.Config(application(gateway), log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await gateway.run()
    finally:
        server.should_exit = True
        await serving


def _listen(path: Path) -> socket.socket:
    """Return the API's socket; only its owner may open it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the gateway has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
