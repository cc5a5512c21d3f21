"""Ending a gateway: its process, and what its data plane forwards."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wayleave.access.settings import LAST_PORT
from wayleave.cli.client import ApiError, Misused, Unreachable
from wayleave.cli.target import Target
from wayleave.cli.terminal import remark, say
from wayleave.config.load import ConfigurationError, load
from wayleave.config.schema import Configuration
from wayleave.dataplane import pins
from wayleave.io import devices, hostlink, machine
from wayleave.io.devices import DeviceError
from wayleave.io.store import StoreError, only_one

PATIENCE_S = 20
"""What a process may take to write what waits."""


def settings_of(config: Path) -> Configuration:
    """Return a configuration that makes sense. Raises: Misused."""
    try:
        return load(config).settings
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


def stop(target: Target, end_sessions: bool = False) -> tuple[str, dict[str, Any]]:
    """Stop a running gateway's process, and wait until it has ended. Raises: ApiError.

    Returns what it was called when it ran, since the configuration may have another name by now, and what it said last.
    """
    try:
        name = str(target.call("GET", "/healthz")["name"])
        pid = target.process()
    except Unreachable as error:
        raise Unreachable(f"{error}{_standing(target.config)}") from error
    try:
        process = os.pidfd_open(pid)
    except OSError as error:
        raise ApiError(f"process {pid} cannot be waited for from here: {error.strerror}") from error
    try:
        said: dict[str, Any] = target.end(end_sessions)
        ended = select.poll()
        ended.register(process, select.POLLIN)
        if not ended.poll(PATIENCE_S * 1000):
            raise ApiError(f"process {pid} still runs after {PATIENCE_S} s: its log says more; `kill -9 {pid}` ends it")
    finally:
        os.close(process)
    return name, said


def _standing(config: Path) -> str:
    """Say how to end what a process that has gone left on the ports, if it did."""
    try:
        name = load(config).settings.gateway.name
    except ConfigurationError:
        return ""
    try:
        stands = name in pins.instances()
    except PermissionError:
        return ""
    return f" What it forwarded goes on: `bng detach --config {config}` ends that." if stands else ""


def detach(settings: Configuration, name: str | None = None) -> int:
    """Take a stopped gateway's data plane off its ports; returns the exit status.

    `name`: as it was called when it ran, if not as in `settings`.
    """
    tenants = [tenant.name for tenant in settings.tenants]
    return _take_off(name or settings.gateway.name, tenants, Path(settings.gateway.state))


def detach_by_name(name: str) -> int:
    """Take off what is pinned under a name that no configuration has any more. Raises: ApiError."""
    try:
        known, links = pins.instances(), list(pins.links(name)) if name in pins.instances() else []
    except PermissionError as error:
        raise ApiError(f"{error.filename}: {error.strerror}: detach has to be root") from error
    if name not in known:
        raise ApiError(f"nothing is pinned under the name {name}; there is {', '.join(known) or 'nothing at all'}")
    ends = [_device_of(link) for link in links if link.port > LAST_PORT]
    tenants = [tenant for device in ends if device is not None and (tenant := hostlink.tenant_of(device))]
    status = _take_off(name, tenants)
    if not status and None in ends:
        say("not all of its host links are here: did it run in another network namespace? They are left there")
    return status


def _device_of(link: pins.PinnedLink) -> str | None:
    """The device that a link holds, if it is one of this network namespace."""
    name = devices.name_of(link.ifindex)
    return name if name is not None and machine.attached_program(link.ifindex)[0] == link.program else None


def _take_off(name: str, tenants: Iterable[str], state: Path | None = None) -> int:
    try:
        if state is not None and state.exists():
            only_one(state)
        removed = pins.remove(name)
        absent = [tenant for tenant in tenants if not hostlink.remove(tenant)]
    except StoreError as error:
        remark(f"{error} Stop it first.")
        return 1
    except (DeviceError, pins.Claimed) as error:
        remark(f"{error}")
        return 1
    except OSError as error:
        remark(f"{error.filename}: {error.strerror}: detach has to be root (sudo)")
        return 1
    say("detached" if removed else "nothing was attached")
    for tenant in absent if removed else ():
        kernel, _ = hostlink.names(tenant)
        say(f"the host link {kernel} is not here: did the gateway run in another network namespace? It is left there")
    return 0
