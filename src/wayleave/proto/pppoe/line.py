"""What an access node says of the line, in a Vendor-Specific tag of the Broadband Forum's.

    vendor 3561 (4)  then: number (1)  length (1)  value

Rates are in kbit/s and delays in ms, as the access node measured or was configured. Sub-options other than those named
here are kept as they are, in `LineInfo.subs`.

Source: TR-101i2 3.9 and its appendix A; RFC 4679 3 numbers them the same (where RADIUS says bit/s).
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from wayleave.net.errors import Malformed
from wayleave.proto.pppoe.packet import VENDOR_SPECIFIC, Packet, Tag

VENDOR = (3561).to_bytes(4, "big")
"""The Broadband Forum."""
_CIRCUIT_ID, _REMOTE_ID = 0x01, 0x02


class Figure(IntEnum):
    """A figure of the access loop, four octets each. Source: TR-101i2 table 3."""

    ACTUAL_UPSTREAM = 0x81
    ACTUAL_DOWNSTREAM = 0x82
    MINIMUM_UPSTREAM = 0x83
    MINIMUM_DOWNSTREAM = 0x84
    ATTAINABLE_UPSTREAM = 0x85
    ATTAINABLE_DOWNSTREAM = 0x86
    MAXIMUM_UPSTREAM = 0x87
    MAXIMUM_DOWNSTREAM = 0x88
    LOW_POWER_UPSTREAM = 0x89
    LOW_POWER_DOWNSTREAM = 0x8A
    MAXIMUM_DELAY_UPSTREAM = 0x8B
    ACTUAL_DELAY_UPSTREAM = 0x8C
    MAXIMUM_DELAY_DOWNSTREAM = 0x8D
    ACTUAL_DELAY_DOWNSTREAM = 0x8E


_FIGURES = {int(figure): figure for figure in Figure}


class LineInfo(Struct, frozen=True, gc=False):
    """What is said of a line. Identifiers are None when absent; `subs` holds all other sub-options by number."""

    circuit_id: bytes | None = None
    remote_id: bytes | None = None
    figures: dict[Figure, int] = {}
    subs: dict[int, bytes] = {}


def of(packet: Packet) -> LineInfo | None:
    """Return what an access node added to a packet, or None if none did. Vendor tags of others are passed over.

    Raises: Malformed as `decode` does, and if two tags are there: a client that sends one of its own ahead of the
    access node's must not choose its line.
    """
    found = [value for value in packet.all(VENDOR_SPECIFIC) if value[:4] == VENDOR]
    if len(found) > 1:
        raise Malformed(0, f"{len(found)} tags tell the line", "TR-101i2 3.9.1")
    return decode(found[0]) if found else None


def decode(value: bytes) -> LineInfo:
    """Read the value of the tag.

    Raises: Malformed if the vendor is another, a sub-option passes the end or stands there twice, or a figure is not
    four octets.
    """
    if value[:4] != VENDOR:
        raise Malformed(0, f"vendor {value[:4].hex()} is not the Broadband Forum", "TR-101i2 3.9")
    found: dict[int, bytes] = {}
    at, end = 4, len(value)
    while at < end:
        number = value[at]
        if at + 1 == end:
            raise Malformed(at, f"sub-option {number:#04x} has no length", "TR-101i2 A")
        stop = at + 2 + value[at + 1]
        if stop > end:
            raise Malformed(at + 1, f"sub-option {number:#04x} passes the end by {stop - end}", "TR-101i2 A")
        if number in found:
            raise Malformed(at, f"sub-option {number:#04x} twice", "TR-101i2 A")
        if number in _FIGURES and stop != at + 6:
            raise Malformed(at + 1, f"sub-option {number:#04x} of {stop - at - 2} octets", "TR-101i2 A")
        found[number] = value[at + 2 : stop]
        at = stop
    figures = {
        figure: int.from_bytes(found.pop(number), "big") for number, figure in _FIGURES.items() if number in found
    }
    return LineInfo(found.pop(_CIRCUIT_ID, None), found.pop(_REMOTE_ID, None), figures, found)


def encode(line: LineInfo) -> Tag:
    """Return the tag as an access node adds it: identifiers, figures, then `subs` in their order.

    Raises: ValueError if a sub-option is longer than 255 octets; OverflowError if a figure has no room in four.
    """
    named = ((_CIRCUIT_ID, line.circuit_id), (_REMOTE_ID, line.remote_id))
    present = [(number, value) for number, value in named if value is not None]
    present += [(int(figure), number.to_bytes(4, "big")) for figure, number in line.figures.items()]
    subs = b"".join(bytes((number, len(value))) + value for number, value in (*present, *line.subs.items()))
    return VENDOR_SPECIFIC.number, VENDOR + subs
