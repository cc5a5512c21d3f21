"""MAC addresses as six octets that print themselves."""

from __future__ import annotations

import re

_TEXT = re.compile(r"^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$", re.IGNORECASE)


class Mac(bytes):
    """Six octets in wire order; hashes and compares as bytes do."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Mac:
        """Read `02:00:00:00:00:01` or `02-00-00-00-00-01`.

        Raises: ValueError with what was expected.
        """
        if not _TEXT.match(text):
            raise ValueError(f"{text!r} is not a MAC address: write it as 02:00:00:00:00:01")
        return cls(bytes.fromhex(text.replace("-", ":").replace(":", "")))

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"Mac({self})"

    @property
    def is_multicast(self) -> bool:
        """True for group addresses, broadcast among them (IEEE 802-2014 8.2)."""
        return bool(self[0] & 1)


BROADCAST = Mac(b"\xff" * 6)
