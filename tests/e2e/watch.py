"""What the tests read off a running gateway: counters by name, sessions, pools."""

from __future__ import annotations

from typing import Any

from wayleave.lab.topology import Gateway
from wayleave.lab.waiting import wait_until


class Meter:
    """How far a counter of `/counters` has come since this was made. One that is not there yet stands at 0."""

    def __init__(self, gateway: Gateway, *path: str) -> None:
        self._gateway, self._path = gateway, path
        self._before = self.stand

    def __repr__(self) -> str:
        return f"{'.'.join(self._path)} +{self.grown}"

    @property
    def stand(self) -> int:
        """What it reads."""
        found: Any = self._gateway.get("/counters")
        for step in self._path:
            found = found.get(step, {})
        return found if isinstance(found, int) else 0

    @property
    def grown(self) -> int:
        """By how much, so far."""
        return self.stand - self._before

    def wait(self, count: int = 1, timeout: float = 5.0) -> int:
        """Wait until it has grown by `count`; returns by how much it has. Raises: TimeoutError."""
        return wait_until(lambda: self.grown if self.grown >= count else 0, lambda: f"{count}: {self}", timeout)


def dropped(gateway: Gateway, reason: str) -> Meter:
    """A meter of the packets dropped for `reason`."""
    return Meter(gateway, "drops", reason)


def ignored(gateway: Gateway, reason: str) -> Meter:
    """A meter of the DHCP messages that led to nothing."""
    return Meter(gateway, "dhcp4", "ignored", reason)


def refused(gateway: Gateway, reason: str) -> Meter:
    """A meter of the clients that were refused."""
    return Meter(gateway, "sessions", "refused", reason)


def sessions(gateway: Gateway, **query: object) -> list[dict[str, Any]]:
    """The sessions that match, as the API tells them."""
    words = "&".join(f"{key}={value}" for key, value in query.items())
    return list(gateway.get(f"/sessions?limit=1000&{words}")["sessions"])


def pool(gateway: Gateway, name: str = "residential") -> dict[str, Any]:
    """One pool's use."""
    return next(dict(item) for item in gateway.get("/pools") if item["name"] == name)
