"""PPPoE as a customer has it: the client that runs in its namespace, and what that was told."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from wayleave.lab.process import Process
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

Event = dict[str, Any]
"""What the client wrote: `event`, which names it, and its facts (lab/pppoe_client.py)."""


class NoConnection(Exception):
    """The client ended without a session. `reason` is PPP's or discovery's, or `died`.

    `message` are the words of the authenticator, `error` those of the concentrator in discovery.
    """

    def __init__(self, down: Event, process: Process) -> None:
        self.reason: str = down.get("reason", "died")
        self.message: str = down.get("message", "")
        self.error: str = down.get("error", "")
        super().__init__(f"{self.reason}: {self.message or self.error}\n{process.output()[-2000:]}")


@dataclass(frozen=True, slots=True)
class Connection:
    """What a client was told. `mru`: octets that the gateway takes, which is the MTU of ppp0; `method`: empty, none."""

    address: IPv4Address
    peer: IPv4Address
    dns: tuple[IPv4Address, ...]
    mru: int
    session_id: int
    concentrator: Mac
    name: str
    method: str
    message: str


def _connection(event: Event) -> Connection:
    return Connection(
        IPv4Address(event["address"]),
        IPv4Address(event["peer"]),
        tuple(map(IPv4Address, event["dns"])),
        event["mru"],
        event["session_id"],
        Mac.parse(event["concentrator"]),
        event["name"],
        event["method"],
        event["message"],
    )


class Dialled:
    """A running client."""

    def __init__(self, process: Process, file: Path) -> None:
        self.process, self._file = process, file

    @property
    def events(self) -> list[Event]:
        """What has happened so far, in order."""
        text = self._file.read_text() if self._file.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def named(self, name: str) -> list[Event]:
        """All events of a name so far."""
        return [event for event in self.events if event["event"] == name]

    def wait_event(self, name: str, timeout: float = 10.0, after: int = 0) -> Event:
        """Wait for an event of this name among those after the first `after`. Raises: TimeoutError."""

        def found() -> Event | None:
            return next((event for event in self.events[after:] if event["event"] == name), None)

        event = wait_until(
            found, lambda: f"{name} among {self.events[after:]}; {self.process.output()[-2000:]}", timeout
        )
        assert event is not None
        return event

    def wait_up(self, timeout: float = 20.0, after: int = 0) -> Connection:
        """Wait for a session among the events after the first `after`.

        Raises: NoConnection if the client ends without one; TimeoutError.
        """

        def up() -> Event | None:
            over = not self.process.alive
            events = self.events[after:]
            found = [event for event in events if event["event"] == "up"]
            if not found and over:
                raise NoConnection(next((event for event in events if event["event"] == "down"), {}), self.process)
            return found[-1] if found else None

        event = wait_until(up, lambda: f"session; {self.events[after:]}\n{self.process.output()[-2000:]}", timeout)
        assert event is not None
        return _connection(event)

    def mute(self) -> None:
        """Have it answer no echo request any more, as a box that hangs; data still passes."""
        self.process.signal(signal.SIGUSR1)

    def unmute(self) -> None:
        """Have it answer again."""
        self.process.signal(signal.SIGUSR2)

    def hang_up(self, timeout: float = 10.0) -> None:
        """Have it end the session in order: LCP's Terminate-Request, PADT."""
        self.process.signal(signal.SIGTERM)
        self.process.wait(timeout)
