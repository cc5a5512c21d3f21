"""How values of RADIUS attributes are written: on the wire, and as text by operators.

A type's name is the dictionary's word for it. `encode` and `read` raise ValueError with what was expected, `decode`
raises Malformed: a value of the wrong length is never bent into one.

Source: RFC 8044 3; ipv6prefix: RFC 3162 2.3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

from msgspec import Struct

from wayleave.net.errors import Malformed
from wayleave.net.ipv4 import parse_address
from wayleave.net.printable import printable

SOURCE = "RFC 8044 3"


class Type(Struct, frozen=True):
    """A kind of value. `show` is how it stands in logs."""

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    read: Callable[[str], Any]
    show: Callable[[Any], str] = str


def _expect(data: bytes, length: int) -> None:
    if len(data) != length:
        raise Malformed(0, f"{len(data)} octets instead of {length}", SOURCE)


def _number(name: str, form: str) -> Type:
    packed = struct.Struct(form)
    most = (1 << 8 * packed.size) - 1

    def encode(value: int) -> bytes:
        if not 0 <= value <= most:
            raise ValueError(f"{value} is not between 0 and {most}")
        return packed.pack(value)

    def decode(data: bytes) -> int:
        _expect(data, packed.size)
        number: int = packed.unpack(data)[0]
        return number

    def read(text: str) -> int:
        try:
            return int(text, 0)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number") from None

    return Type(name, encode, decode, read)


def _decode_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(error.start, f"0x{data[error.start]:02x} is no UTF-8", "RFC 8044 3.4") from None


def _show_text(text: str) -> str:
    return printable(text)


def _read_octets(text: str) -> bytes:
    if not text.startswith("0x"):
        return text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise ValueError(f"{text!r} is not hex: write an even number of digits after 0x") from None


def _decode_ipv4(data: bytes) -> IPv4Address:
    _expect(data, 4)
    return IPv4Address(data)


def _decode_ipv6(data: bytes) -> IPv6Address:
    _expect(data, 16)
    return IPv6Address(data)


def _encode_prefix(value: IPv6Network) -> bytes:
    octets = -(-value.prefixlen // 8)
    return bytes((0, value.prefixlen)) + value.network_address.packed[:octets]


def _decode_prefix(data: bytes) -> IPv6Network:
    """Reserved octet, length in bits, then as much of the prefix as there is; bits past the length must be zero."""
    if not 2 <= len(data) <= 18 or data[1] > 128 or len(data) - 2 < -(-data[1] // 8):
        raise Malformed(0, f"{len(data)} octets are no IPv6 prefix", "RFC 3162 2.3")
    try:
        return IPv6Network((data[2:].ljust(16, b"\0"), data[1]))
    except ValueError:
        raise Malformed(2, f"bits are set past the prefix's {data[1]}", "RFC 3162 2.3") from None


def _read_ipv6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv6 address") from None


def _read_prefix(text: str) -> IPv6Network:
    try:
        return IPv6Network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IPv6 prefix: {error}") from None


def _fixed(octets: int) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    def encode(value: bytes) -> bytes:
        if len(value) != octets:
            raise ValueError(f"{len(value)} octets instead of {octets}")
        return value

    def decode(data: bytes) -> bytes:
        _expect(data, octets)
        return data

    return encode, decode


_ALL = (
    Type("string", str.encode, _decode_text, str, _show_text),
    Type("octets", bytes, bytes, _read_octets, lambda value: "0x" + value.hex()),
    _number("byte", "!B"),
    _number("short", "!H"),
    _number("integer", "!I"),
    _number("integer64", "!Q"),
    _number("date", "!I"),
    Type("ipaddr", lambda value: value.packed, _decode_ipv4, parse_address),
    Type("ipv6addr", lambda value: value.packed, _decode_ipv6, _read_ipv6),
    Type("ipv6prefix", _encode_prefix, _decode_prefix, _read_prefix),
    Type("ifid", *_fixed(8), _read_octets, lambda value: value.hex(":", 2)),
    Type("ether", *_fixed(6), _read_octets, lambda value: value.hex(":")),
)
TYPES = {type_.name: type_ for type_ in _ALL}
