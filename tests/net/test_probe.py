"""Packets made up to be explained: whole, by another's reading; and frames in words."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether

from wayleave.net.frame import ETHERTYPE_ARP, ETHERTYPE_IPV4, TPID_C, TPID_S, Tag, encode_l2
from wayleave.net.mac import Mac
from wayleave.net.probe import describe, probe

A, B = Mac.parse("02:00:00:00:00:0a"), Mac.parse("02:00:00:00:00:0b")
QINQ = (Tag(TPID_S, 100), Tag(TPID_C, 7))
L2 = encode_l2(B, A, QINQ, ETHERTYPE_IPV4)
HERE, THERE = IPv4Address("100.64.0.2"), IPv4Address("1.1.1.1")


@pytest.mark.parametrize(("protocol", "layer"), [("udp", UDP), ("tcp", TCP), ("icmp", ICMP)])
def test_a_packet_is_whole(protocol: str, layer: type) -> None:
    made = Ether(L2 + probe(protocol, HERE, THERE, 4000, 53))
    ip = made[IP]
    assert (ip.src, ip.dst, ip.ttl, ip.flags.DF) == (str(HERE), str(THERE), 64, 1)
    head, inner = ip.copy(), ip[layer]
    checks = ip.chksum, inner.chksum
    del head.chksum, head[layer].chksum
    again = IP(bytes(head))
    assert (again.chksum, again[layer].chksum) == checks
    match protocol:
        case "icmp":
            assert (inner.type, inner.code) == (8, 0)
        case "tcp":
            assert (inner.sport, inner.dport, str(inner.flags)) == (4000, 53, "S")
        case "udp":
            assert (inner.sport, inner.dport, inner.len) == (4000, 53, 8)


def test_a_frame_in_words() -> None:
    said = describe(L2 + probe("udp", HERE, THERE, 4000, 53))
    assert said == f"{A} > {B} 0x88a8/100 0x8100/7 udp 100.64.0.2:4000 > 1.1.1.1:53 ttl 64, 50 octets"
    assert describe(encode_l2(B, A, (), ETHERTYPE_IPV4) + probe("icmp", HERE, THERE)).startswith(
        f"{A} > {B} untagged icmp 100.64.0.2 > 1.1.1.1 ttl 64"
    )
    assert "ARP" in describe(encode_l2(B, A, (), ETHERTYPE_ARP) + bytes(46))
    assert "no frame" in describe(bytes(10))


@given(st.binary(max_size=100))
def test_whatever_comes_is_put_in_words(data: bytes) -> None:
    assert describe(data)
    assert describe(L2 + data)
