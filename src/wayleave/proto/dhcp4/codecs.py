"""How the values of DHCP options are written, on the wire and in the configuration.

Source: RFC 2132 2, RFC 3442 (routes), RFC 3397 and RFC 1035 4.1.4 (domain names), RFC 3361 (SIP servers).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Generic, TypeVar

from msgspec import Struct

from wayleave.net.errors import Malformed
from wayleave.net.ipv4 import parse_address, parse_network

T = TypeVar("T")
Routes = tuple[tuple[IPv4Network, IPv4Address], ...]


class Codec(Struct, Generic[T], frozen=True):
    """How one kind of value is written on the wire and in the configuration.

    `encode` raises ValueError, `decode` Malformed. `read` takes what TOML holds and raises ValueError with what was
    expected.
    """

    name: str
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    read: Callable[[object], T]


def _expect(data: bytes, length: int) -> None:
    if len(data) != length:
        raise Malformed(0, f"{len(data)} octets instead of {length}", "RFC 2132 2")


def _list(value: object, what: str) -> list[str]:
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return value
    raise ValueError(f"{value!r} is not a list of {what}")


# Numbers


def _integer(name: str, form: str, least: int, most: int) -> Codec[int]:
    packed = struct.Struct(form)

    def encode(value: int) -> bytes:
        if not least <= value <= most:
            raise ValueError(f"{value} is not between {least} and {most}")
        return packed.pack(value)

    def decode(data: bytes) -> int:
        _expect(data, packed.size)
        number: int = packed.unpack(data)[0]
        return number

    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ValueError(f"{value!r} is not a whole number")

    return Codec(name, encode, decode, read)


U8 = _integer("u8", "!B", 0, 0xFF)
U16 = _integer("u16", "!H", 0, 0xFFFF)
U32 = _integer("u32", "!I", 0, 0xFFFFFFFF)
I32 = _integer("i32", "!i", -(1 << 31), (1 << 31) - 1)


# Addresses


def _encode_address(value: IPv4Address) -> bytes:
    return value.packed


def _decode_address(data: bytes) -> IPv4Address:
    _expect(data, 4)
    return IPv4Address(data)


def _encode_addresses(value: tuple[IPv4Address, ...]) -> bytes:
    return b"".join([address.packed for address in value])


def _decode_addresses(data: bytes) -> tuple[IPv4Address, ...]:
    if not data or len(data) % 4:
        raise Malformed(0, f"{len(data)} octets are no list of addresses", "RFC 2132 2")
    return tuple(IPv4Address(data[at : at + 4]) for at in range(0, len(data), 4))


def _read_addresses(value: object) -> tuple[IPv4Address, ...]:
    return tuple(map(parse_address, _list(value, "IPv4 addresses")))


ADDRESS = Codec("address", _encode_address, _decode_address, parse_address)
ADDRESSES = Codec("addresses", _encode_addresses, _decode_addresses, _read_addresses)


# Text, octets, flags, option codes


def _encode_text(value: str) -> bytes:
    return value.encode()


def _decode_text(data: bytes) -> str:
    """Never fails: what is no UTF-8 shows as `\\xff`. Trailing zeros are dropped (RFC 2132 2)."""
    return data.rstrip(b"\0").decode("utf-8", "backslashreplace")


def _read_text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is not text")


def _octets(value: bytes) -> bytes:
    return value


def _read_octets(value: object) -> bytes:
    if isinstance(value, str):
        try:
            return bytes.fromhex(value.replace(":", " "))
        except ValueError:
            pass
    raise ValueError(f"{value!r} is not hexadecimal: write it as 01:0a:ff")


def _encode_flag(value: bool) -> bytes:
    if not value:
        raise ValueError("a flag is either there or left out")
    return b""


def _decode_flag(data: bytes) -> bool:
    _expect(data, 0)
    return True


def _read_flag(value: object) -> bool:
    if value is True:
        return True
    raise ValueError(f"{value!r} is not true: to switch a flag off, leave it out")


def _encode_codes(value: tuple[int, ...]) -> bytes:
    return bytes(value)


def _decode_codes(data: bytes) -> tuple[int, ...]:
    return tuple(data)


def _read_codes(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return tuple(value)
    raise ValueError(f"{value!r} is not a list of option codes")


TEXT = Codec("text", _encode_text, _decode_text, _read_text)
BYTES = Codec("octets", _octets, _octets, _read_octets)
FLAG = Codec("flag", _encode_flag, _decode_flag, _read_flag)
CODES = Codec("codes", _encode_codes, _decode_codes, _read_codes)


# Classless routes


def _encode_routes(value: Routes) -> bytes:
    """Write width, significant octets of the destination, router. Source: RFC 3442."""
    parts: list[bytes] = []
    for network, router in value:
        width = network.prefixlen
        parts += (bytes((width,)), network.network_address.packed[: width + 7 >> 3], router.packed)
    return b"".join(parts)


def _decode_routes(data: bytes) -> Routes:
    routes: list[tuple[IPv4Network, IPv4Address]] = []
    at = 0
    while at < len(data):
        width = data[at]
        router = at + 1 + (width + 7 >> 3)
        if width > 32:
            raise Malformed(at, f"prefix of {width} bits", "RFC 3442")
        if router + 4 > len(data):
            raise Malformed(at, "route passes the end of the option", "RFC 3442")
        destination = data[at + 1 : router].ljust(4, b"\0")
        # Bits past the prefix are cleared, not refused: RFC 3442 makes the receiver do so.
        network = IPv4Network((destination, width), strict=False)
        routes.append((network, IPv4Address(data[router : router + 4])))
        at = router + 4
    if not routes:
        raise Malformed(0, "no route", "RFC 3442")
    return tuple(routes)


def _read_routes(value: object) -> Routes:
    """Read lines such as `192.0.2.0/24 via 10.0.0.1`."""
    routes = []
    for line in _list(value, "routes: write each as 192.0.2.0/24 via 10.0.0.1"):
        network, via, router = line.partition(" via ")
        if not via:
            raise ValueError(f"{line!r} is not a route: write it as 192.0.2.0/24 via 10.0.0.1")
        routes.append((parse_network(network), parse_address(router)))
    return tuple(routes)


ROUTES = Codec("routes", _encode_routes, _decode_routes, _read_routes)


# Domain names


_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")


def _labels(name: str) -> list[str]:
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{name!r} is not a domain name")
    return labels


def _encode_domains(value: tuple[str, ...]) -> bytes:
    """Write names as DNS does, with pointers to what stands in this option already. Source: RFC 3397 2."""
    out = b""
    seen: dict[tuple[str, ...], int] = {}
    for name in value:
        rest = tuple(_labels(name))
        while rest and rest not in seen:
            if len(out) < 0x4000:
                seen[rest] = len(out)
            out += bytes((len(rest[0]),)) + rest[0].encode()
            rest = rest[1:]
        out += (0xC000 | seen[rest]).to_bytes(2, "big") if rest else b"\0"
    return out


def _decode_domains(data: bytes) -> tuple[str, ...]:
    """Read names; a pointer only points backward, so reading always ends. Source: RFC 3397 2, RFC 1035 4.1.4."""
    names = []
    at = 0
    while at < len(data):
        name, at = _decode_name(data, at)
        names.append(name)
    if not names:
        raise Malformed(0, "no domain name", "RFC 3397 2")
    return tuple(names)


def _decode_name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at `at` and where the next one starts."""
    labels: list[str] = []
    after = 0
    horizon = at
    while True:
        if at >= len(data):
            raise Malformed(at, "domain name passes the end", "RFC 1035 3.1")
        length = data[at]
        if length == 0:
            break
        if length >= 0xC0:
            if at + 1 >= len(data):
                raise Malformed(at, "pointer passes the end", "RFC 1035 4.1.4")
            target = (length & 0x3F) << 8 | data[at + 1]
            if target >= horizon:
                raise Malformed(at, f"pointer to octet {target} does not point backward", "RFC 1035 4.1.4")
            after = after or at + 2
            at = horizon = target
            continue
        label = data[at + 1 : at + 1 + length].decode("ascii", "replace")
        if length > 63 or len(label) != length or not _LABEL.fullmatch(label):
            raise Malformed(at, "not a label of letters, digits, hyphens, underscores", "RFC 1035 2.3.1")
        labels.append(label)
        at += 1 + length
    name = ".".join(labels)
    if not labels or len(name) > 253:
        raise Malformed(at, "domain name empty or beyond 253 characters", "RFC 1035 3.1")
    return name, after or at + 1


def _read_domains(value: object) -> tuple[str, ...]:
    return tuple(_list(value, "domain names"))


DOMAINS = Codec("domain names", _encode_domains, _decode_domains, _read_domains)


# SIP servers: one octet tells names (0) from addresses (1)


def _encode_sip(value: tuple[str, ...] | tuple[IPv4Address, ...]) -> bytes:
    addresses = tuple(item for item in value if isinstance(item, IPv4Address))
    if addresses:
        if len(addresses) != len(value):
            raise ValueError("SIP servers are either all names or all addresses")
        return b"\1" + _encode_addresses(addresses)
    return b"\0" + b"".join(_encode_domains((str(item),)) for item in value)


def _decode_sip(data: bytes) -> tuple[str, ...] | tuple[IPv4Address, ...]:
    if data[:1] == b"\0":
        return _decode_domains(data[1:])
    if data[:1] == b"\1":
        return _decode_addresses(data[1:])
    raise Malformed(0, "encoding is neither 0 (names) nor 1 (addresses)", "RFC 3361 3")


def _read_sip(value: object) -> tuple[str, ...] | tuple[IPv4Address, ...]:
    servers = _list(value, "SIP servers, all names or all addresses")
    if servers[0].replace(".", "").isdigit():
        return tuple(map(parse_address, servers))
    return tuple(servers)


SIP = Codec("SIP servers", _encode_sip, _decode_sip, _read_sip)
