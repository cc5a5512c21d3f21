"""Frames as scapy writes them, read."""

from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.ppp import PPP, PPP_IPCP, PPP_LCP_Echo, PPPoE, PPPoED, PPPoED_Tags, PPPoETag

from wayleave.lab.packet import Frame, Tag
from wayleave.proto.pppoe.packet import AC_NAME, SERVICE_NAME, Code

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
TAGGED = ETHER / Dot1AD(vlan=100) / Dot1Q(vlan=1)
PING = IP(src="100.64.0.10", dst="198.51.100.10") / ICMP() / b"wayleave"
SESSION = PPPoE(sessionid=7)


def frame(packet):
    return Frame(bytes(packet))


@pytest.mark.parametrize("ether", [ETHER, TAGGED], ids=["untagged", "tagged"])
def test_ipv4_is_read_inside_pppoe_as_outside(ether):
    inside, outside = frame(ether / SESSION / PPP(proto=0x21) / PING), frame(ether / PING)
    assert inside.ip == outside.ip
    assert inside.ip.destination == IPv4Address("198.51.100.10")
    assert inside.icmp == outside.icmp == (8, 0)
    assert (inside.ppp.session_id, inside.ppp.protocol, inside.ppp.information) == (7, 0x21, bytes(PING))
    assert inside.control is None
    assert outside.ppp is None
    assert inside.tags == ((Tag(0x88A8, 100), Tag(0x8100, 1)) if ether is TAGGED else ())


def test_padding_is_no_part_of_it():
    data = bytes(ETHER / SESSION / PPP(proto=0x21) / PING)
    assert Frame(data + bytes(20)).ppp == Frame(data).ppp


def test_discovery():
    tags = PPPoED_Tags(tag_list=[PPPoETag(tag_type=0x0101, tag_value="gold"), PPPoETag(tag_type=0x0102, tag_value="b")])
    pado = frame(TAGGED / PPPoED(code=0x07) / tags)
    assert (pado.discovery.code, pado.discovery.session_id) == (Code.PADO, 0)
    assert (pado.discovery.first(SERVICE_NAME), pado.discovery.first(AC_NAME)) == (b"gold", b"b")
    assert pado.ppp is None
    assert "PADO" in str(pado)


@pytest.mark.parametrize(
    ("packet", "control"),
    [
        (PPP(proto=0xC021) / PPP_LCP_Echo(code=9, magic_number=1), (0xC021, 9)),
        (PPP(proto=0x8021) / PPP_IPCP(code=3), (0x8021, 3)),
    ],
)
def test_control(packet, control):
    found = frame(ETHER / SESSION / packet)
    assert found.control == control
    assert (found.ip, found.discovery) == (None, None)
    assert f"ppp {control[0]:#06x} code {control[1]}" in str(found)


@pytest.mark.parametrize(
    "data",
    [
        bytes(ETHER / SESSION / PPP(proto=0x21) / PING)[:-1],
        bytes(ETHER / PPPoE(sessionid=7, len=1) / b"\0"),
        bytes(ETHER / PPPoE(sessionid=7, code=9) / PPP(proto=0x21) / PING),
        bytes(ETHER / PPPoED(code=9, len=4)),
    ],
)
def test_what_makes_no_sense_is_nothing(data):
    found = Frame(data)
    assert (found.ppp, found.discovery, found.control, found.ip) == (None, None, None, None)
    assert "0x886" in str(found)


def test_how_frames_are_written():
    assert "protocol 17 ports 68 > 67" in str(frame(ETHER / IP() / UDP(sport=68, dport=67)))
    assert "protocol 1 icmp 8/0" in str(frame(TAGGED / SESSION / PPP(proto=0x21) / PING))
    assert "arp 1 100.64.0.10 asks for 100.64.0.1" in str(frame(ETHER / ARP(psrc="100.64.0.10", pdst="100.64.0.1")))
