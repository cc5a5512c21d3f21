"""What the ports' devices are like: told to the log as it changes, and why some customers cannot be served for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import structlog

from wayleave.access.settings import PortSettings
from wayleave.daemon import logs
from wayleave.io import devices

log = structlog.get_logger()

_SPOKEN = {"no carrier": "has no carrier", "down": "is administratively down", "gone": "is gone"}


class Carriers:
    """Looks whenever it is asked, and remembers what it saw last."""

    def __init__(self) -> None:
        self._were: dict[int, str] = {}
        self._served: set[int] = set()
        """Ports that were up once: one that never was has perhaps no cable yet."""

    def look(self, ports: Collection[PortSettings]) -> None:
        """Look at all ports, and log what has changed."""
        for port in ports:
            state = devices.state(port.device)
            if self._were.get(port.number, state) != state:
                tell = log.info if state == "up" else log.warning
                tell("port-up" if state == "up" else "port-down", port=port.number, device=port.device, state=state)
            self._were[port.number] = state
            if state == "up":
                self._served.add(port.number)

    def faults(self, ports: Collection[PortSettings]) -> list[str]:
        """Whom it keeps from being served: a subscriber port that was up and is not, a tenant without any uplink."""
        self.look(ports)
        logs.LINES.flush()
        return [*self._lost(ports), *self._cut_off(ports)]

    def _lost(self, ports: Collection[PortSettings]) -> Iterator[str]:
        for port in ports:
            if port.role == "subscriber" and port.number in self._served and self._were[port.number] != "up":
                yield self._said(port)

    def _cut_off(self, ports: Collection[PortSettings]) -> Iterator[str]:
        uplinks: dict[str, list[PortSettings]] = {}
        for port in ports:
            if port.role == "network":
                uplinks.setdefault(port.tenant, []).append(port)
        for tenant, theirs in uplinks.items():
            if all(self._were[port.number] != "up" for port in theirs):
                yield f"tenant {tenant} has no uplink: {', '.join(map(self._said, theirs))}"

    def _said(self, port: PortSettings) -> str:
        return f"port {port.number} ({port.device}) {_SPOKEN[self._were[port.number]]}"
