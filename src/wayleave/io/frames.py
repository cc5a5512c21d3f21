"""Frames out: one AF_PACKET socket a port. What it sends does not pass the port's XDP program."""

from __future__ import annotations

import socket


class Transmitter:
    """Sends whole Ethernet frames. Errors are counted, never raised: a client asks again."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self.sent = 0
        self.failed = 0

    def open(self, port: int, device: str) -> None:
        """Bind `port` to a device, again if that was made anew.

        Raises: OSError if there is no such device, or without CAP_NET_RAW.
        """
        self.close(port)
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        link.setblocking(False)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        link.bind((device, 0))
        self._sockets[port] = link

    def close(self, port: int) -> None:
        link = self._sockets.pop(port, None)
        if link is not None:
            link.close()

    def send(self, port: int, frame: bytes) -> None:
        try:
            self._sockets[port].send(frame)
        except (OSError, KeyError):
            self.failed += 1
        else:
            self.sent += 1
