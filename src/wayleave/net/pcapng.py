"""Blocks of a capture file, as Wireshark reads them: pcapng, little-endian, nanoseconds.

Source: draft-ietf-opsawg-pcapng, the sections named at each function; options: 3.5.
"""

from __future__ import annotations

import struct

CONTENT_TYPE = "application/x-pcapng"
_ETHERNET = 1
_INBOUND, _OUTBOUND = 1, 2
_OPTION = struct.Struct("<HH")


def section(application: str) -> bytes:
    """Begin a file. Source: 4.1, Section Header Block."""
    head = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    return _block(0x0A0D0D0A, head + _options((4, application.encode())))


def interface(name: str, description: str, snap: int) -> bytes:
    """Declare the next interface, counted from 0; of its frames `snap` octets are kept. Source: 4.2."""
    options = _options((2, name.encode()), (3, description.encode()), (9, b"\x09"))
    return _block(1, struct.pack("<HHI", _ETHERNET, 0, snap) + options)


def packet(number: int, at: int, length: int, octets: bytes, inbound: bool, comment: str) -> bytes:
    """Add a frame of interface `number`: `octets` of the `length` that it had, at `at` ns since 1970. Source: 4.3."""
    head = struct.pack("<IIIII", number, at >> 32, at & 0xFFFFFFFF, len(octets), length)
    flags = struct.pack("<I", _INBOUND if inbound else _OUTBOUND)
    return _block(6, head + _padded(octets) + _options((1, comment.encode()), (2, flags)))


def statistics(number: int, at: int, lost: int) -> bytes:
    """Tell how many frames could not be kept. Source: 4.6, Interface Statistics Block."""
    return _block(5, struct.pack("<III", number, at >> 32, at & 0xFFFFFFFF) + _options((5, struct.pack("<Q", lost))))


def _block(kind: int, body: bytes) -> bytes:
    """Source: 3.1."""
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(_OPTION.pack(code, len(value)) + _padded(value) for code, value in options) + _OPTION.pack(0, 0)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
