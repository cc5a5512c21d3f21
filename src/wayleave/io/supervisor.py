"""Telling the service manager how it stands: ready, alive, stopping. Without one, nothing happens.

Source: sd_notify(3), systemd 252: datagrams of assignments to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Supervisor:
    """Its messages are hints: one that cannot be delivered is lost. Raises nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watched = bool(self._address) and for_us and "WATCHDOG_USEC" in environment
        """Whether it wants to hear that the loop still turns."""

    def ready(self, sessions: int) -> None:
        """Say that customers are served."""
        self._tell(f"READY=1\nSTATUS=serving, {sessions} sessions were taken up")

    def alive(self) -> None:
        """Say that the loop turns. To be called from the loop itself, or it proves nothing."""
        if self.watched:
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that this is a clean stop."""
        self._tell("STOPPING=1")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(message.encode(), address)
