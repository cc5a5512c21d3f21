"""The programs of the lab's PPP device, packet by packet, against scapy's."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.ppp import PPP, PPP_LCP_Echo, PPPoE, PPPoED

from wayleave.dataplane import objects, syscall
from wayleave.lab.ppp_device import PROGRAM

OWN, PEER, OTHER = "02:c0:00:00:00:01", "02:77:00:00:00:01", "02:00:00:00:00:09"
DROP, PASS, REDIRECT = 1, 2, 4
LOOPBACK = 1
IPV4 = IP(src="198.51.100.10", dst="100.64.0.10") / UDP(sport=1, dport=2) / b"wayleave"
IPV6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=1, dport=2) / b"wayleave"
DOWN = Ether(src=PEER, dst=OWN)
BARE = Ether(src=OWN, dst=OWN)


class Programs:
    """The loaded object, with a session or without."""

    def __init__(self, loaded: objects.Object) -> None:
        self._loaded = loaded
        self.session(5)

    def session(self, session_id: int) -> None:
        macs = [bytes.fromhex(mac.replace(":", "")) for mac in (OWN, PEER)]
        row = struct.pack("=II6s6s", LOOPBACK, LOOPBACK, *macs) + struct.pack("!HH", session_id, 0)
        syscall.update(self._loaded.maps["sessions"].fd, bytes(4), row)

    def run(self, program: str, packet: bytes) -> tuple[int, bytes]:
        ran = syscall.run(self._loaded.programs[program], packet, LOOPBACK)
        return ran.verdict, ran.packet


@pytest.fixture(scope="module")
def loaded() -> Iterator[objects.Object]:
    loaded = objects.load(PROGRAM)
    yield loaded
    loaded.close()


@pytest.fixture
def programs(loaded: objects.Object) -> Programs:
    return Programs(loaded)


@pytest.mark.parametrize(("proto", "inner"), [(0x21, IPV4), (0x57, IPV6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("padding", [0, 1, 18])
def test_a_packet_of_the_session_is_taken_out_of_it(programs, proto, inner, padding):
    came = bytes(DOWN / PPPoE(sessionid=5) / PPP(proto=proto) / inner) + bytes(padding)
    assert programs.run("unwrap", came) == (REDIRECT, bytes(DOWN / inner))


def test_what_the_length_does_not_count_is_cut_off(programs):
    came = bytes(DOWN / PPPoE(sessionid=5, len=2 + 20) / PPP(proto=0x21) / IPV4)
    assert programs.run("unwrap", came) == (REDIRECT, bytes(DOWN / IPV4)[: 14 + 20])


@pytest.mark.parametrize(
    "packet",
    [
        DOWN / PPPoE(sessionid=6) / PPP(proto=0x21) / IPV4,
        Ether(src=OTHER, dst=OWN) / PPPoE(sessionid=5) / PPP(proto=0x21) / IPV4,
        Ether(src=PEER, dst=OTHER) / PPPoE(sessionid=5) / PPP(proto=0x21) / IPV4,
        DOWN / PPPoE(sessionid=5, code=1) / PPP(proto=0x21) / IPV4,
        DOWN / PPPoE(sessionid=5, version=2) / PPP(proto=0x21) / IPV4,
        DOWN / PPPoE(sessionid=5, len=len(IPV4) + 3) / PPP(proto=0x21) / IPV4,
        DOWN / PPPoE(sessionid=5, len=1) / PPP(proto=0x21) / IPV4,
        DOWN / PPPoE(sessionid=5) / PPP(proto=0xC021) / PPP_LCP_Echo(code=9),
        DOWN / PPPoE(sessionid=5) / PPP(proto=0x2145) / IPV4,
        DOWN / PPPoED(code=0xA7, sessionid=5),
        DOWN / IPV4,
        DOWN,
    ],
    ids=[
        *("other session", "other source", "other destination", "code", "version", "length passes the end"),
        *("length without a protocol", "LCP", "other data", "discovery", "no PPPoE", "nothing"),
    ],
)
def test_all_else_goes_up_as_it_is(programs, packet):
    assert programs.run("unwrap", bytes(packet)) == (PASS, bytes(packet))


def test_without_a_session_everything_goes_up(programs):
    programs.session(0)
    came = bytes(DOWN / PPPoE(sessionid=0) / PPP(proto=0x21) / IPV4)
    assert programs.run("unwrap", came) == (PASS, came)


@pytest.mark.parametrize(("proto", "inner"), [(0x21, IPV4), (0x57, IPV6)], ids=["IPv4", "IPv6"])
def test_a_packet_is_put_into_the_session(programs, proto, inner):
    out = bytes(Ether(src=OWN, dst=PEER) / PPPoE(sessionid=5) / PPP(proto=proto) / inner)
    assert programs.run("wrap", bytes(BARE / inner)) == (REDIRECT, out)


def test_what_is_not_ip_does_not_leave(programs):
    assert programs.run("wrap", bytes(BARE / ARP()))[0] == DROP


def test_without_a_session_nothing_leaves(programs):
    programs.session(0)
    assert programs.run("wrap", bytes(BARE / IP() / ICMP()))[0] == DROP
