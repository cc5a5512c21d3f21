"""Tags pushed and popped, shared tags, option 82: as seen on the cable."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from wayleave.lab.access_node import Counter, Line
from wayleave.lab.packet import BROADCAST, Frame, Tag, dhcp_options, ethernet
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab

TEST_TYPE = 0x88B5  # local experimental EtherType 1 (IEEE 802)

LINES = {
    "qinq": Line(100, 1),
    "neighbour": Line(100, 2),
    "both 0x8100": Line(200, 7, (0x8100, 0x8100)),
    "both 0x88a8": Line(300, 7, (0x88A8, 0x88A8)),
    "0x9100": Line(400, 7, (0x9100, 0x8100)),
    "S equals C": Line(500, 500),
    "priorities": Line(600, 1, priorities=(5, 3)),
    "one tag": Line(700, None, (0x8100, 0x8100)),
    "one S-tag": Line(800),
    "priority tag": Line(0, None, (0x8100, 0x8100), (7, 0)),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One customer a way of tagging, and `acc0` that receives what is redirected to it."""
    with Lab(list(LINES.values())) as lab:
        lab.access_node.attach("pass", lab.gateway.namespace, "acc0")
        yield lab


def marked() -> bytes:
    """A payload that no other frame has."""
    return os.urandom(50)


@pytest.mark.parametrize("name", LINES)
def test_a_frame_goes_up_with_exactly_its_lines_tags(lab: Lab, name: str) -> None:
    customer = lab.customers[list(LINES).index(name)]
    mark = marked()
    with lab.access_node.trunk.capture() as trunk, lab.gateway.capture("acc0") as acc0:
        customer.send_raw(ethernet(BROADCAST, customer.mac, TEST_TYPE, mark))
        (arrived,) = acc0.wait_for(lambda frame: frame.data.endswith(mark))
        trunk.settle()
    expected = BROADCAST + customer.mac + raw_tags(LINES[name]) + struct.pack("!H", TEST_TYPE) + mark
    assert arrived.data == expected
    assert [frame.data for frame in trunk.matching(lambda frame: frame.outgoing)] == [expected]
    assert trunk.lost == acc0.lost == 0


def raw_tags(line: Line) -> bytes:
    vids = [vid for vid in (line.svid, line.cvid) if vid is not None]
    return b"".join(
        struct.pack("!HH", tpid, priority << 13 | vid)
        for tpid, vid, priority in zip(line.tpids, vids, line.priorities, strict=False)
    )


@pytest.mark.parametrize("name", LINES)
def test_a_tagged_frame_arrives_untagged_at_its_customer_and_nowhere_else(lab: Lab, name: str) -> None:
    number = list(LINES).index(name)
    customer, mark = lab.customers[number], marked()
    other = lab.customers[number - 1]
    with customer.capture() as here, other.capture() as elsewhere, lab.access_node.trunk.capture() as trunk:
        tagged = customer.mac + GATEWAY_ACCESS_MAC + raw_tags(LINES[name]) + struct.pack("!H", TEST_TYPE) + mark
        lab.gateway.send_raw(tagged, "acc0")
        (arrived,) = here.wait_for(lambda frame: frame.data.endswith(mark))
        trunk.settle()
        elsewhere.close()
    assert arrived.data == customer.mac + GATEWAY_ACCESS_MAC + struct.pack("!H", TEST_TYPE) + mark
    assert [frame.data for frame in trunk.matching(lambda frame: not frame.outgoing)] == [tagged]
    assert not elsewhere.matching(lambda frame: frame.data.endswith(mark))


@pytest.mark.parametrize(
    ("tags", "counter"),
    [
        ((Tag(0x8100, 100), Tag(0x8100, 1)), Counter.OTHER_TAGS),
        ((Tag(0x88A8, 100), Tag(0x88A8, 1)), Counter.OTHER_TAGS),
        ((Tag(0x88A8, 100), Tag(0x8100, 3)), Counter.NO_LINE),
        ((Tag(0x88A8, 100),), Counter.NO_LINE),
        ((Tag(0x8100, 700), Tag(0x8100, 0)), Counter.OTHER_TAGS),
    ],
)
def test_tags_that_are_not_a_lines_are_dropped_and_counted(lab: Lab, tags: tuple[Tag, ...], counter: Counter) -> None:
    before = lab.access_node.counters()
    with lab.access_node.trunk.capture() as trunk:
        mark = marked()
        lab.gateway.send_raw(ethernet(BROADCAST, GATEWAY_ACCESS_MAC, TEST_TYPE, mark, tags), "acc0")
        trunk.wait_for(lambda frame: frame.data.endswith(mark))
    after = lab.access_node.counters()
    assert after[counter] == before[counter] + 1
    assert after[Counter.DOWN] == before[Counter.DOWN]


def test_a_customers_own_tag_goes_through_below_the_lines(lab: Lab) -> None:
    customer, mark = lab.customers[0], marked()
    with lab.gateway.capture("acc0") as acc0:
        customer.send_raw(ethernet(BROADCAST, customer.mac, TEST_TYPE, mark, (Tag(0x8100, 9),)))
        (arrived,) = acc0.wait_for(lambda frame: frame.data.endswith(mark))
    assert arrived.tags == (Tag(0x88A8, 100), Tag(0x8100, 1), Tag(0x8100, 9))


def test_1500_octets_of_ip_pass_both_ways_inside_two_tags(lab: Lab) -> None:
    customer, mark = lab.customers[0], os.urandom(1500)
    with lab.gateway.capture("acc0") as acc0, customer.capture() as here:
        customer.send_raw(ethernet(GATEWAY_ACCESS_MAC, customer.mac, TEST_TYPE, mark))
        (up,) = acc0.wait_for(lambda frame: frame.data.endswith(mark))
        assert len(up.data) == 1522
        lab.gateway.send_raw(ethernet(customer.mac, GATEWAY_ACCESS_MAC, TEST_TYPE, mark, LINES["qinq"].tags), "acc0")
        here.wait_for(lambda frame: not frame.outgoing and frame.data.endswith(mark))


def test_the_trunk_is_silent_unless_somebody_captures(lab: Lab) -> None:
    customer, mark = lab.customers[0], marked()
    with lab.access_node.trunk.capture() as early:
        pass
    with lab.gateway.capture("acc0") as acc0:
        customer.send_raw(ethernet(BROADCAST, customer.mac, TEST_TYPE, mark))
        acc0.wait_for(lambda frame: frame.data.endswith(mark))
    assert early.frames == []
    with lab.access_node.trunk.capture() as late:
        late.settle()
    assert late.frames == []


def test_trunk_send_is_what_the_gateway_receives(lab: Lab) -> None:
    data = ethernet(GATEWAY_ACCESS_MAC, b"\x02\0\0\0\0\x09", TEST_TYPE, marked(), (Tag(0x88A8, 9), Tag(0x8100, 9)))
    with lab.gateway.capture("acc0") as acc0, lab.access_node.trunk.capture() as trunk:
        lab.access_node.trunk.send(data)
        acc0.wait_for(lambda frame: frame.data == data)
        trunk.wait_for(lambda frame: frame.data == data and frame.outgoing)


def test_a_customer_can_be_plugged_into_another_line() -> None:
    with Lab([Line(100, 1)]) as lab:
        lab.access_node.attach("pass", lab.gateway.namespace, "acc0")
        (customer,) = lab.customers
        customer.move(Line(200, 2))
        mark = marked()
        before = lab.access_node.counters()[Counter.NO_LINE]
        with lab.gateway.capture("acc0") as acc0, customer.capture() as here:
            customer.send_raw(ethernet(BROADCAST, customer.mac, TEST_TYPE, mark))
            (arrived,) = acc0.wait_for(lambda frame: frame.data.endswith(mark))
            assert arrived.tags == Line(200, 2).tags
            for line in (Line(100, 1), Line(200, 2)):
                lab.gateway.send_raw(ethernet(customer.mac, GATEWAY_ACCESS_MAC, TEST_TYPE, mark, line.tags), "acc0")
            here.wait_for(lambda frame: not frame.outgoing and frame.data.endswith(mark))
        assert lab.access_node.counters()[Counter.NO_LINE] == before + 1


class TestShared:
    """Several customers on the same tags."""

    def test_known_stations_get_their_own_and_broadcasts_reach_all(self) -> None:
        line = Line(100, 10)
        with Lab([line, line, Line(100, 11)]) as lab:
            lab.access_node.attach("pass", lab.gateway.namespace, "acc0")
            first, second, other = lab.customers
            with (
                lab.gateway.capture("acc0") as acc0,
                first.capture() as at_first,
                second.capture() as at_second,
                other.capture() as at_other,
            ):
                for customer in (first, second):
                    customer.send_raw(ethernet(BROADCAST, customer.mac, TEST_TYPE, marked()))
                acc0.wait_for(lambda frame: frame.tags == line.tags, count=2)
                mark = marked()
                lab.gateway.send_raw(ethernet(second.mac, GATEWAY_ACCESS_MAC, TEST_TYPE, mark, line.tags), "acc0")
                at_second.wait_for(lambda frame: frame.data.endswith(mark))
                everybody = marked()
                lab.gateway.send_raw(ethernet(BROADCAST, GATEWAY_ACCESS_MAC, TEST_TYPE, everybody, line.tags), "acc0")
                for capture in (at_first, at_second):
                    (flooded,) = capture.wait_for(lambda frame: frame.data.endswith(everybody))
                    assert flooded.tags == ()
                unknown = marked()
                nobody = b"\x02\0\0\0\0\x77"
                lab.gateway.send_raw(ethernet(nobody, GATEWAY_ACCESS_MAC, TEST_TYPE, unknown, line.tags), "acc0")
                for capture in (at_first, at_second):
                    capture.wait_for(lambda frame: frame.data.endswith(unknown))
            incoming = [frame.data[-50:] for frame in at_first.frames if not frame.outgoing]
            assert incoming == [everybody, unknown]
            assert [frame for frame in at_other.frames if not frame.outgoing] == []

    def test_option_82_is_put_in_on_the_way_up_and_decides_on_the_way_down(self) -> None:
        lines = [Line(100, 10, circuit=b"olt1/1/1"), Line(100, 10, circuit=b"olt1/1/2")]
        with Lab(lines) as lab:
            lab.access_node.attach("pass", lab.gateway.namespace, "acc0")
            first, second = lab.customers
            with lab.gateway.capture("acc0") as acc0, first.capture() as at_first, second.capture() as at_second:
                discover = dhcp(second.mac, "discover", [("relay_agent_information", b"\x01\x05bogus")])
                second.send_raw(discover)
                (up,) = acc0.wait_for(lambda frame: frame.is_dhcp)
                assert up.tags == lines[1].tags
                assert sound(up)
                assert dhcp_options(up.udp_payload) == [(53, b"\x01"), (82, b"\x01\x08olt1/1/2")]

                answer = dhcp(second.mac, "offer", [("relay_agent_information", b"\x01\x08olt1/1/2")], down=True)
                lab.gateway.send_raw(tagged(answer, lines[1].tags), "acc0")
                (down,) = at_second.wait_for(lambda frame: not frame.outgoing and frame.is_dhcp)
                assert sound(down)
                assert dhcp_options(down.udp_payload) == [(53, b"\x02")]
                lab.gateway.send_raw(
                    ethernet(first.mac, GATEWAY_ACCESS_MAC, TEST_TYPE, marked(), lines[0].tags), "acc0"
                )
                at_first.wait_for(lambda frame: frame.ethertype == TEST_TYPE)
            assert not at_first.matching(lambda frame: frame.is_dhcp)


def dhcp(mac: bytes, kind: str, options: list[tuple[str, bytes]], down: bool = False) -> bytes:
    """A broadcast DHCP message of which scapy is the author."""
    ends = {"src": "100.64.0.1" if down else "0.0.0.0", "dst": "255.255.255.255"}
    ports = {"sport": 67, "dport": 68} if down else {"sport": 68, "dport": 67}
    head = Ether(src=GATEWAY_ACCESS_MAC if down else mac, dst=BROADCAST) / IP(**ends) / UDP(**ports)
    message = BOOTP(op=2 if down else 1, chaddr=mac.ljust(16, b"\0"), xid=7)
    return bytes(head / message / DHCP(options=[("message-type", kind), *options, "end"]))


def tagged(data: bytes, tags: tuple[Tag, ...]) -> bytes:
    return data[:12] + b"".join(map(bytes, tags)) + data[12:]


def sound(frame: Frame) -> bool:
    """Do length and checksums of IP and UDP agree with what scapy computes?"""
    untagged = frame.data[:12] + frame.data[12 + 4 * len(frame.tags) :]
    packet = Ether(untagged)
    fresh = packet.copy()
    del fresh[IP].chksum, fresh[UDP].chksum, fresh[IP].len, fresh[UDP].len
    return bytes(fresh) == bytes(packet)


def test_the_lab_knows_its_own_addresses(lab: Lab) -> None:
    assert lab.pool_gateway == IPv4Address("100.64.0.1")
    assert lab.router.ping(lab.server_address)
    assert lab.server.ping(lab.core.ip)
