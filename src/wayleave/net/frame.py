"""Ethernet frames with up to two VLAN tags, and UDP over IPv4 inside them.

`decode` and `decode_udp4` take apart what comes up the punt ring; `encode_l2` and `encode_udp4` put together what goes
to a client. IPv4 options are skipped, fragments refused: no access protocol needs reassembly.

Source: IEEE 802.3, IEEE 802.1Q-2018 9.3 to 9.6, RFC 791, RFC 768.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from msgspec import Struct

from wayleave.net.checksum import internet_checksum, udp4_checksum_holds
from wayleave.net.errors import Malformed
from wayleave.net.mac import Mac

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_PPPOE_DISCOVERY = 0x8863
ETHERTYPE_PPPOE_SESSION = 0x8864
TPID_C = 0x8100
TPID_S = 0x88A8
ETHERNET_MTU = 1500
"""Octets behind the header that every station takes (IEEE 802.3 3.2.7)."""
MINIMUM = 60
"""The shortest frame in octets, without its check sequence (IEEE 802.3 4.2.3.3)."""

_TPIDS = (TPID_C, TPID_S)
_UDP = 17
_TAG = struct.Struct("!HH")
_WORD = struct.Struct("!H")
_IP4_DECODE = struct.Struct("!BxHxxHxBxxII")
_UDP_HEADER = struct.Struct("!HHHH")
_IP4_UDP = struct.Struct("!BBHHHBBHIIHHHH")
_VERSION_IHL = 0x45
_DONT_FRAGMENT = 0x4000
_IP4_FIXED = (_VERSION_IHL << 8) + _DONT_FRAGMENT + _UDP


class Tag(Struct, frozen=True, gc=False):
    """A VLAN tag. `priority` is the PCP, 0 to 7; the drop-eligible bit is not kept. VID 0 is a priority tag."""

    tpid: int
    vid: int
    priority: int = 0


class Frame(Struct, frozen=True, gc=False):
    """An Ethernet frame. `ethertype` is the one behind the tags, `offset` where `payload` started in the frame.

    An ethertype below 1,536 is the length field of an 802.3 frame. The payload keeps Ethernet's padding.
    """

    destination: Mac
    source: Mac
    tags: tuple[Tag, ...]
    ethertype: int
    offset: int
    payload: bytes


class Datagram(Struct, frozen=True, gc=False):
    """UDP over IPv4. `payload` has the length that UDP says, without padding."""

    source: IPv4Address
    destination: IPv4Address
    sport: int
    dport: int
    payload: bytes


def decode(data: bytes | memoryview) -> Frame:
    """Read a frame with no tag, one or two, each 0x8100 or 0x88a8 in any order.

    Raises: Malformed if it is cut short, carries a third tag or the reserved VID 4095.
    Source: IEEE 802.1Q-2018 9.3 to 9.6.
    """
    data = bytes(data)
    if len(data) < 14:
        raise Malformed(len(data), "frame ends inside the Ethernet header", "IEEE 802.3 3.1")
    (ethertype,) = _WORD.unpack_from(data, 12)
    tags: tuple[Tag, ...] = ()
    offset = 14
    while ethertype in _TPIDS:
        if len(tags) == 2:
            raise Malformed(offset - 2, "more than two VLAN tags", "IEEE 802.1Q-2018 9.3")
        if len(data) < offset + 4:
            raise Malformed(len(data), "frame ends inside a VLAN tag", "IEEE 802.1Q-2018 9.3")
        control, inner = _TAG.unpack_from(data, offset)
        vid = control & 0xFFF
        if vid == 0xFFF:
            raise Malformed(offset, "VID 4095 is reserved", "IEEE 802.1Q-2018 table 9-2")
        tags += (Tag(ethertype, vid, control >> 13),)
        ethertype = inner
        offset += 4
    return Frame(Mac(data[:6]), Mac(data[6:12]), tags, ethertype, offset, data[offset:])


def vids(frame: Frame) -> tuple[int, int]:
    """Return (S-VID, C-VID): the non-zero VIDs in the order they stand, 0 where there is none."""
    tags = frame.tags
    if not tags:
        return 0, 0
    outer = tags[0].vid
    inner = tags[1].vid if len(tags) == 2 else 0
    return (outer, inner) if outer else (inner, 0)


def decode_udp4(packet: bytes | memoryview, verify_checksum: bool = True) -> Datagram:
    """Read UDP from an IPv4 packet, `Frame.payload`; what follows the packet's total length is padding.

    The header's checksum is always verified, UDP's when it is not zero and `verify_checksum` is true. A sender on the
    same machine leaves UDP's to its network card, and behind a veth pair nobody ever fills it in.

    Raises: Malformed; also for fragments and for protocols other than UDP.
    Source: RFC 791 3.1, RFC 768, RFC 1122 3.2.1 and 4.1.3.4.
    """
    if len(packet) < 20:
        raise Malformed(len(packet), "packet ends inside the IPv4 header", "RFC 791 3.1")
    version_ihl, total, fragment, protocol, source_word, destination_word = _IP4_DECODE.unpack_from(packet)
    if version_ihl >> 4 != 4:
        raise Malformed(0, f"version {version_ihl >> 4} is not IPv4", "RFC 791 3.1")
    start = (version_ihl & 0xF) * 4
    if start < 20:
        raise Malformed(0, f"header length {start} is below 20", "RFC 791 3.1")
    if total < start or total > len(packet):
        raise Malformed(2, f"total length {total}, header {start}, received {len(packet)}", "RFC 791 3.1")
    if fragment & 0x3FFF:
        raise Malformed(6, "fragment", "RFC 791 3.2")
    if protocol != _UDP:
        raise Malformed(9, f"protocol {protocol} is not UDP", "RFC 768")
    if internet_checksum(packet[:start]):
        raise Malformed(10, "wrong IPv4 header checksum", "RFC 1122 3.2.1.2")
    if total < start + 8:
        raise Malformed(total, "packet ends inside the UDP header", "RFC 768")
    sport, dport, length, checksum = _UDP_HEADER.unpack_from(packet, start)
    if length < 8 or start + length > total:
        raise Malformed(start + 4, f"UDP length {length} in {total - start} octets", "RFC 768")
    source, destination = IPv4Address(source_word), IPv4Address(destination_word)
    datagram = bytes(packet[start : start + length])
    if checksum and verify_checksum and not udp4_checksum_holds(source, destination, datagram):
        raise Malformed(start + 6, "wrong UDP checksum", "RFC 1122 4.1.3.4")
    return Datagram(source, destination, sport, dport, datagram[8:])


def encode_l2(destination: Mac, source: Mac, tags: tuple[Tag, ...], ethertype: int) -> bytes:
    """Return the Ethernet header of 14, 18 or 22 octets: the ready-made encapsulation toward a client.

    Source: IEEE 802.1Q-2018 9.3.
    """
    header = destination + source
    for tag in tags:
        header += _TAG.pack(tag.tpid, tag.priority << 13 | tag.vid)
    return header + _WORD.pack(ethertype)


def encode_udp4(
    l2: bytes,
    source: IPv4Address,
    sport: int,
    destination: IPv4Address,
    dport: int,
    payload: bytes,
    ttl: int = 64,
    ident: int = 0,
) -> bytes:
    """Return a whole frame: `l2`, IPv4, UDP, `payload`, zeros up to 60 octets. Both checksums are right.

    "Don't fragment" is set, so the datagram is atomic and any `ident` will do. The caller keeps the payload within
    the MTU.

    Source: RFC 791 3.1, RFC 768, RFC 6864 4.1.
    """
    from_word, to_word = int(source), int(destination)
    length = 8 + len(payload)
    words = from_word + to_word + _UDP + length
    # Sums of words modulo 65,535, as in net.checksum; the fixed words of both headers are added by hand.
    body = int.from_bytes(payload, "big")
    if length & 1:
        body <<= 8
    header_sum = (_IP4_FIXED + length + 20 + ident + (ttl << 8) + from_word + to_word) % 65535
    udp_sum = (words + sport + dport + length + body) % 65535
    frame = (
        l2
        + _IP4_UDP.pack(
            _VERSION_IHL,
            0,
            20 + length,
            ident,
            _DONT_FRAGMENT,
            ttl,
            _UDP,
            65535 - header_sum if header_sum else 0,
            from_word,
            to_word,
            sport,
            dport,
            length,
            65535 - udp_sum if udp_sum else 65535,
        )
        + payload
    )
    return frame.ljust(MINIMUM, b"\0")
