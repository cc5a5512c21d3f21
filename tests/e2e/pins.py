"""Behind the gateway's back: its pinned maps, read and written while no process holds them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address

from wayleave.dataplane import abi, syscall
from wayleave.dataplane.maps import PerCpu
from wayleave.dataplane.objects import Map
from wayleave.lab.topology import PINS, Lab


class Pins:
    """The maps of one instance, under its pins."""

    def __init__(self, lab: Lab) -> None:
        (self._folder,) = (PINS / lab.instance).glob("maps-*")

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        fd = syscall.get_pinned(str(self._folder / name))
        try:
            yield fd
        finally:
            os.close(fd)

    def _slot(self, address: IPv4Address, tenant: int = 0) -> abi.Slot:
        with self._open("hosts4") as fd:
            found = syscall.lookup(fd, abi.Host4Key(tenant, address).pack(), abi.Slot.SIZE)
        assert found is not None, f"{address} has no key"
        return abi.Slot.unpack(found)

    def row(self, address: IPv4Address) -> abi.Session:
        """The row that an address leads to."""
        with self._open("sessions") as fd:
            found = syscall.lookup(fd, self._slot(address).row.to_bytes(4, "little"), abi.Session.SIZE)
        assert found is not None
        return abi.Session.unpack(found)

    def change_row(self, address: IPv4Address, /, **members: object) -> None:
        """Write other values into members of the row, in place."""
        changed = replace(self.row(address), **members)  # type: ignore[arg-type]
        with self._open("sessions") as fd:
            syscall.update(fd, self._slot(address).row.to_bytes(4, "little"), changed.pack())

    def delete_client(self, address: IPv4Address) -> None:
        """Take the key away by which the client of `address` is known."""
        with self._open("clients") as fd:
            assert syscall.delete(fd, self.row(address).client.pack())

    def delete_host(self, address: IPv4Address) -> None:
        """Take the key away by which `address` is found."""
        with self._open("hosts4") as fd:
            assert syscall.delete(fd, abi.Host4Key(0, address).pack())

    def point_host(self, address: IPv4Address, at: IPv4Address) -> None:
        """Have `address` lead to the row of another, or make a key where there was none."""
        with self._open("hosts4") as fd:
            syscall.update(fd, abi.Host4Key(0, address).pack(), self._slot(at).pack())

    def dropped(self, reason: abi.DropReason) -> int:
        """The drop counter, with no gateway to ask."""
        with self._open("drops") as fd:
            return PerCpu(Map("drops", fd, 0, 4, 8, len(abi.DropReason))).totals()[reason]
