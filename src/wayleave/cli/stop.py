"""Ending a gateway: its process, and what its data plane forwards."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from wayleave.cli.client import ApiError, Misused, Unreachable
from wayleave.cli.target import Target
from wayleave.config.load import ConfigurationError, load
from wayleave.config.schema import Configuration
from wayleave.dataplane.plane import PINS, remove_pins
from wayleave.io import hostlink
from wayleave.io.devices import DeviceError
from wayleave.io.store import StoreError, only_one

PATIENCE_S = 20
"""What a process may take to write what waits."""


def settings_of(config: Path) -> Configuration:
    """Return a configuration that makes sense. Raises: Misused."""
    try:
        return load(config)[0]
    except ConfigurationError as error:
        raise Misused(str(error)) from error


def settings_of_running(target: Target) -> Configuration:
    """Return a configuration that is this gateway's, before anything ends. Raises: Misused."""
    settings = settings_of(target.config)
    theirs = settings.gateway.api
    if target.socket is not None and Path(target.socket).resolve() != Path(theirs).resolve():
        raise Misused(
            f"{target.config} is another gateway's, which listens at {theirs}: say the --config of the one at "
            f"{target.socket}, or --keep-traffic"
        )
    return settings


def stop(target: Target) -> None:
    """Stop a running gateway's process, and wait until it has ended. Raises: ApiError."""
    try:
        pid = target.process()
    except Unreachable as error:
        raise Unreachable(f"{error}{_standing(target.config)}") from error
    try:
        process = os.pidfd_open(pid)
    except OSError as error:
        raise ApiError(f"process {pid} cannot be waited for from here: {error.strerror}") from error
    try:
        target.call("POST", "/stop")
        ended = select.poll()
        ended.register(process, select.POLLIN)
        if not ended.poll(PATIENCE_S * 1000):
            raise ApiError(f"process {pid} still runs after {PATIENCE_S} s: its log says more; `kill -9 {pid}` ends it")
    finally:
        os.close(process)


def _standing(config: Path) -> str:
    """Say how to end what a process that has gone left on the ports, if it did."""
    try:
        name = load(config)[0].gateway.name
    except ConfigurationError:
        return ""
    stands = os.access(PINS / name, os.F_OK)
    return f" What it forwarded goes on: `bng detach --config {config}` ends that." if stands else ""


def detach(settings: Configuration) -> int:
    """Take a stopped gateway's data plane off its ports; returns the exit status."""
    try:
        folder = Path(settings.gateway.state)
        if folder.exists():
            only_one(folder)
        removed = remove_pins(settings.gateway.name)
        absent = [tenant.name for tenant in settings.tenants if not hostlink.remove(tenant.name)]
    except StoreError as error:
        print(f"bng: {error} Stop it first.", file=sys.stderr)
        return 1
    except DeviceError as error:
        print(f"bng: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bng: {error.filename}: {error.strerror}: detach has to be root (sudo)", file=sys.stderr)
        return 1
    print("detached" if removed else "nothing was attached")
    for tenant in absent if removed else ():
        kernel, _ = hostlink.names(tenant)
        print(f"the host link {kernel} is not here: did the gateway run in another network namespace? It is left there")
    return 0
