"""Blocks of a capture file, as Wireshark reads and writes them: pcapng.

What is written is little-endian and counts nanoseconds. What is read: frames with their interfaces, of either byte
order; times, names, statistics and the packet block of old (4.7) are passed over.

Source: draft-ietf-opsawg-pcapng, the sections named at each function; options: 3.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct

from wayleave.net.errors import Malformed

CONTENT_TYPE = "application/x-pcapng"
MAGIC = b"\x0a\x0d\x0d\x0a"
ETHERNET = 1
_SECTION, _INTERFACE, _SIMPLE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 3, 5, 6
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_END, _COMMENT, _FLAGS, _DESCRIPTION = 0, 1, 2, 3
_INBOUND, _OUTBOUND = 1, 2
_OPTION = struct.Struct("<HH")
_SOURCE = "draft-ietf-opsawg-pcapng"


class Interface(Struct, frozen=True):
    """Where frames were captured: its link type, `ETHERNET` for one, and what it is said to be."""

    link: int
    description: str
    snap: int


class Captured(Struct, frozen=True):
    """A frame: its octets that were kept, how many it had, and whether it was said to leave there."""

    interface: Interface
    octets: bytes
    length: int
    outbound: bool


def section(application: str) -> bytes:
    """Begin a file. Source: 4.1, Section Header Block."""
    head = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    return _block(_SECTION, head + _options((4, application.encode())))


def interface(name: str, description: str, snap: int) -> bytes:
    """Declare the next interface, counted from 0; of its frames `snap` octets are kept. Source: 4.2."""
    options = _options((2, name.encode()), (_DESCRIPTION, description.encode()), (9, b"\x09"))
    return _block(_INTERFACE, struct.pack("<HHI", ETHERNET, 0, snap) + options)


def packet(number: int, at: int, length: int, octets: bytes, inbound: bool, comment: str) -> bytes:
    """Add a frame of interface `number`: `octets` of the `length` that it had, at `at` ns since 1970. Source: 4.3."""
    head = struct.pack("<IIIII", number, at >> 32, at & 0xFFFFFFFF, len(octets), length)
    flags = struct.pack("<I", _INBOUND if inbound else _OUTBOUND)
    return _block(_PACKET, head + _padded(octets) + _options((_COMMENT, comment.encode()), (_FLAGS, flags)))


def statistics(number: int, at: int, lost: int) -> bytes:
    """Tell how many frames could not be kept. Source: 4.6, Interface Statistics Block."""
    return _block(
        _STATISTICS, struct.pack("<III", number, at >> 32, at & 0xFFFFFFFF) + _options((5, struct.pack("<Q", lost)))
    )


def _block(kind: int, body: bytes) -> bytes:
    """Source: 3.1."""
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(_OPTION.pack(code, len(value)) + _padded(value) for code, value in options) + _OPTION.pack(_END, 0)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


def decode(data: bytes) -> Iterator[Captured]:
    """Yield the frames of a file; of one that is still being written, those that are whole.

    Raises: Malformed where it is not as specified, after the frames before.
    """
    interfaces: list[Interface] = []
    for at, kind, order, body in _blocks(data):
        read = _Block(at + 8, body, order)
        if kind == _SECTION:
            interfaces = []
        elif kind == _INTERFACE:
            interfaces.append(_interface(read))
        elif kind == _PACKET:
            yield _packet(read, interfaces)
        elif kind == _SIMPLE:
            yield _simple(read, interfaces)


def _blocks(data: bytes) -> Iterator[tuple[int, int, str, bytes]]:
    """Yield place, type, byte order and body of every block. Source: 3.1, 4.1."""
    at, order = 0, ""
    while at < len(data):
        if data[at : at + 4] == MAGIC:
            order = _BYTE_ORDERS.get(data[at + 8 : at + 12], "")
        if not order:
            raise Malformed(at, "no section begins here", f"{_SOURCE} 4.1")
        if len(data) - at < 12:
            raise Malformed(at, "the file ends inside a block", f"{_SOURCE} 3.1")
        kind, length = struct.unpack_from(order + "II", data, at)
        if length % 4 or length < 12:
            raise Malformed(at + 4, f"a block of {length} octets", f"{_SOURCE} 3.1")
        if at + length > len(data):
            raise Malformed(at, "the file ends inside a block", f"{_SOURCE} 3.1")
        if struct.unpack_from(order + "I", data, at + length - 4) != (length,):
            raise Malformed(at + length - 4, "a block's two lengths differ", f"{_SOURCE} 3.1")
        yield at, kind, order, data[at + 8 : at + length - 4]
        at += length


class _Block:
    """The body of a block, with its place in the file."""

    def __init__(self, at: int, body: bytes, order: str) -> None:
        self.at, self.body, self.order = at, body, order

    def numbers(self, form: str, source: str) -> tuple[int, ...]:
        """Its fixed fields."""
        if len(self.body) < struct.calcsize(self.order + form):
            raise Malformed(self.at, "a block is too short for its type", source)
        return struct.unpack_from(self.order + form, self.body)

    def octets(self, at: int, length: int, source: str) -> bytes:
        if at + length > len(self.body):
            raise Malformed(self.at + at, f"{length} octets of a frame do not fit into their block", source)
        return self.body[at : at + length]

    def option(self, at: int, wanted: int) -> bytes:
        """The first option of a code; empty: there is none. Source: 3.5."""
        while at + 4 <= len(self.body):
            code, length = struct.unpack_from(self.order + "HH", self.body, at)
            if code == _END:
                break
            if at + 4 + length > len(self.body):
                raise Malformed(self.at + at, "an option does not fit into its block", f"{_SOURCE} 3.5")
            if code == wanted:
                return self.body[at + 4 : at + 4 + length]
            at += 4 + length + -length % 4
        return b""


def _interface(block: _Block) -> Interface:
    link, _, snap = block.numbers("HHI", f"{_SOURCE} 4.2")
    return Interface(link, block.option(8, _DESCRIPTION).decode("utf-8", "replace"), snap)


def _packet(block: _Block, interfaces: list[Interface]) -> Captured:
    """Source: 4.3, Enhanced Packet Block."""
    number, _, _, kept, length = block.numbers("IIIII", f"{_SOURCE} 4.3")
    octets = block.octets(20, kept, f"{_SOURCE} 4.3")
    flags = block.option(20 + kept + -kept % 4, _FLAGS)
    outbound = len(flags) == 4 and struct.unpack(block.order + "I", flags)[0] & 3 == _OUTBOUND
    return Captured(_of(interfaces, number, block.at), octets, length, outbound)


def _simple(block: _Block, interfaces: list[Interface]) -> Captured:
    """Source: 4.4, Simple Packet Block: of the first interface, and as long as its snap length lets it be."""
    (length,) = block.numbers("I", f"{_SOURCE} 4.4")
    interface = _of(interfaces, 0, block.at)
    kept = min(length, interface.snap or length)
    return Captured(interface, block.octets(4, kept, f"{_SOURCE} 4.4"), length, False)


def _of(interfaces: list[Interface], number: int, at: int) -> Interface:
    if number >= len(interfaces):
        raise Malformed(at, f"a frame of interface {number}, which was not declared", f"{_SOURCE} 4.3")
    return interfaces[number]
