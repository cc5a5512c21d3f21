"""Whose XDP program is on a device that a port is to have, and the command that takes it off.

A program that a link holds cannot be taken off by `ip link`: the link has to go. Source: dev_xdp_attach in
net/core/dev.c, kernel 6.1.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from wayleave.dataplane import pins, syscall
from wayleave.io import machine
from wayleave.io.devices import Device


class Occupant(NamedTuple):
    """Who has a device, and what to do."""

    says: str
    cure: str

    def __str__(self) -> str:
        return f"{self.says}: {self.cure}"


def occupant(device: Device, instance: str, port: int) -> Occupant | None:
    """Return who keeps this port of this instance off a device; None: nobody, as far as can be told."""
    with ThreadPoolExecutor(1) as apart:  # pyroute2 runs a loop of its own, and not where one runs already
        program, mode = apart.submit(machine.attached_program, device.ifindex).result()
    if not program:
        return None
    try:
        held = pins.holder(device.ifindex, program)
        link = _link_of(device.ifindex, program) if held is None else None
    except PermissionError:
        ask = f"`bpftool net show dev {device.name}`, as root, says whose: end what attached it"
        return Occupant("another XDP program is attached", ask)
    if held is not None:
        return None if held[:2] == (instance, port) else _ours(held, instance)
    if link is not None:
        cure = f"`bpftool link show id {link}` says whose: end that, or `bpftool link detach id {link}`"
        return Occupant("another XDP program is attached, and held by a link", cure)
    cure = f"`ip link set dev {device.name} {mode} off`"
    return Occupant("another XDP program is attached", cure)


def _ours(held: pins.PinnedLink, instance: str) -> Occupant:
    detach = f"`bng detach --name {held.instance}` takes it off, and ends what it forwards"
    if held.instance == instance:
        return Occupant(f"this gateway has it as port {held.port}", f"give the port that number, or {detach}")
    return Occupant(f"gateway {held.instance} has it, as port {held.port}", detach)


def _link_of(ifindex: int, program: int) -> int | None:
    """The id of the link that holds a program on a device; None: no link does. Raises: PermissionError."""
    for number in syscall.link_ids():
        try:
            link = syscall.link_by_id(number)
        except FileNotFoundError:
            continue  # it went meanwhile
        try:
            info = syscall.link_info(link)
        finally:
            os.close(link)
        if (info.type, info.ifindex, info.program) == (syscall.LINK_XDP, ifindex, program):
            return number
    return None
