"""The Internet checksum, alone and with the IPv4 pseudo header. Source: RFC 1071, RFC 768.

A ones' complement sum of 16-bit words is the whole octet string read as one big number, modulo 65,535, because
65,536 leaves the remainder 1. One division of a long integer is several times faster than a loop over words.
"""

from __future__ import annotations

from ipaddress import IPv4Address

_UDP = 17


def _sum(data: bytes | memoryview) -> int:
    """Return `data` as a number with the same remainder modulo 65,535 as the sum of its words."""
    number = int.from_bytes(data, "big")
    return number << 8 if len(data) & 1 else number


def _complement(total: int) -> int:
    rest = total % 65535
    if rest:
        return 65535 - rest
    return 0 if total else 65535


def internet_checksum(data: bytes | memoryview) -> int:
    """Return the checksum to put into a header whose checksum field is zero.

    Over data that carries its checksum already the result is 0 exactly when the checksum is right. Source: RFC 1071 1.
    """
    return _complement(_sum(data))


def udp4_checksum(source: IPv4Address, destination: IPv4Address, datagram: bytes | memoryview) -> int:
    """Return the checksum for a UDP header and payload whose checksum field is zero; never 0, which means "none".

    Source: RFC 768.
    """
    return _complement(int(source) + int(destination) + _UDP + len(datagram) + _sum(datagram)) or 65535


def udp4_checksum_holds(source: IPv4Address, destination: IPv4Address, datagram: bytes | memoryview) -> bool:
    """Tell whether a UDP header and payload carry their right checksum. Source: RFC 768, RFC 1122 4.1.3.4."""
    return (int(source) + int(destination) + _UDP + len(datagram) + _sum(datagram)) % 65535 == 0
