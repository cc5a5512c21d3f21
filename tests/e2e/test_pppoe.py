"""PPPoE on real packets: a customer dials, surfs, survives a restart, is cut off; IPoE beside it on the same VLAN."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.capture import Collected
from wayleave.lab.packet import ECHO, TCP, Frame
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe.packet import Code

from .watch import sessions

DIALS, IPOE, BESIDE = Line(100, 1), Line(100, 2), Line(100, 1)
PPPOE = '[pppoe]\nauthentication = []\necho_interval = "1s"\nname = "edge-1"\nmru = 1500\n'
BOTH = {"protocols": ["ipoe", "pppoe"]}
LCP_ECHO_REQUEST, LCP_ECHO_REPLY, LCP_TERMINATE = 9, 10, 5


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([DIALS, IPOE, BESIDE]) as lab:
        lab.gateway.namespace.ip("link set acc0 mtu 1516")
        lab.access_node.namespace.ip("link set trunk mtu 1516")
        lab.gateway.start(lab.config(subscriber=BOTH, more=PPPOE))
        yield lab


@pytest.fixture(autouse=True)
def unplugged(lab: Lab) -> Iterator[None]:
    """Every customer begins without anything, and nobody's session is left."""
    yield
    for customer in lab.customers:
        customer.forget()
    for item in sessions(lab.gateway):
        lab.gateway.bng("clear", "session", str(item["id"]), "--config", str(lab.gateway.config_file))
    wait_until(lambda: not sessions(lab.gateway), "an empty table")


def control(frames: list[Frame], protocol: int = Protocol.LCP) -> list[tuple[bool, int]]:
    """(from the gateway, code) of a protocol's control packets."""
    return [
        (frame.source == GATEWAY_ACCESS_MAC, frame.control[1])
        for frame in frames
        if frame.control is not None and frame.control[0] == protocol
    ]


def discovery(frames: list[Frame]) -> list[int]:
    return [frame.discovery.code for frame in frames if frame.discovery is not None]


def icmp(seen: Collected) -> list[Frame]:
    return [frame for frame in seen.frames if frame.ip is not None and frame.icmp == (ECHO, 0)]


def test_a_customer_dials_and_its_packets_cross_in_both_directions(lab: Lab) -> None:
    customer = lab.customers[0]
    with lab.access_node.trunk.capture() as trunk, lab.router.capture() as core:
        told = customer.pppoe("alice", "sesame")
        assert customer.ping(lab.server_address, count=3)
        assert customer.ping(lab.server_address, count=1, size=1464, df=True), "1,492 octets of IP"
        trunk.settle()
    assert (told.peer, told.dns, told.name) == (lab.pool_gateway, (lab.server_address,), "edge-1")
    assert IPv4Address(told.address) in lab.pools[0]
    assert discovery(trunk.frames) == [Code.PADI, Code.PADO, Code.PADR, Code.PADS]
    up = [frame for frame in icmp(trunk) if frame.source == customer.mac]
    assert [(frame.ppp.session_id, frame.ppp.protocol) for frame in up if frame.ppp] == [
        (told.session_id, Protocol.IPV4)
    ] * 4
    assert all(frame.tags == DIALS.tags for frame in trunk.frames)
    assert [(frame.ip.source, frame.ip.ttl) for frame in icmp(core) if frame.ip] == [(told.address, 63)] * 4
    (session,) = sessions(lab.gateway)
    assert session["address"] == str(told.address)


def test_an_mru_of_1500_is_for_who_asks_for_it(lab: Lab) -> None:
    customer = lab.customers[0]
    told = customer.pppoe("alice", "sesame", mru=1500)
    assert told.mru == 1500
    assert customer.ping(lab.server_address, count=1, size=1472, df=True), "1,500 octets of IP"


def test_tcp_fits_whatever_the_other_end_believes(lab: Lab) -> None:
    customer = lab.customers[0]
    customer.pppoe("alice", "sesame")
    server = lab.server.iperf3_server()
    try:
        with lab.router.capture() as core, lab.access_node.trunk.capture() as trunk:
            down = customer.iperf3(lab.server_address, "-R", "-b", "20M", seconds=1)
            trunk.settle()
    finally:
        server.kill()
    assert down.bits_per_second > 1e6
    assert _offered(trunk) == {1452}, "1,492 less 40, both ways"
    assert 1460 in _offered(core), "what the server says before that"
    assert max(len(frame.data) for frame in trunk.frames if frame.ppp) <= 14 + 8 + 1492 + 8


def _offered(seen: Collected) -> set[int]:
    found = [frame.ip for frame in seen.frames if frame.ip and frame.ip.protocol == TCP]
    return {mss for ip in found if (mss := _mss(ip.payload)) is not None}


def _mss(tcp: bytes) -> int | None:
    """The MSS of a SYN, whose first option it is with Linux."""
    if not tcp[13] & 2 or tcp[20:22] != b"\2\4":
        return None
    return int.from_bytes(tcp[22:24])


def test_ipoe_and_pppoe_live_on_one_vlan(lab: Lab) -> None:
    dials, beside = lab.customers[0], lab.customers[2]
    told = dials.pppoe("alice", "sesame")
    lease = beside.dhcp("udhcpc")
    assert lease.address != told.address
    assert dials.ping(lab.server_address)
    assert beside.ping(lab.server_address)
    assert {item["address"] for item in sessions(lab.gateway)} == {str(told.address), str(lease.address)}


def test_it_survives_kill_9_and_a_restart_without_a_lost_packet_or_a_word(lab: Lab) -> None:
    customer = lab.customers[0]
    customer.pppoe("alice", "sesame", "--keepalive", "1")
    assert customer.dialled is not None
    before = sessions(lab.gateway)
    with lab.access_node.trunk.capture() as trunk, ExitStack() as stack:
        stream = stack.enter_context(customer.pinging(lab.server_address, interval=0.005))
        stream.wait_for(20)
        lab.gateway.kill9()
        stream.wait_for(300)
        trunk.wait_for(lambda frame: frame.control == (Protocol.LCP, LCP_ECHO_REPLY), 10, what="echo by the kernel")
        lab.gateway.restart()
        stream.wait_for(50)
        result = stream.stop()
        trunk.settle()
    assert not [number for number in result.lost if number != result.sent], result.text[-500:]
    assert [(item["id"], item["address"]) for item in sessions(lab.gateway)] == [
        (item["id"], item["address"]) for item in before
    ]
    assert discovery(trunk.frames) == []
    assert {code for _, code in control(trunk.frames)} <= {LCP_ECHO_REQUEST, LCP_ECHO_REPLY}
    assert control(trunk.frames, Protocol.IPCP) == []
    assert customer.dialled.process.alive
    lab.gateway.bng("clear", "session", str(before[0]["id"]), "--config", str(lab.gateway.config_file))
    assert customer.dialled.wait_event("down")


def test_an_operator_who_ends_a_session_is_heard_at_once(lab: Lab) -> None:
    customer = lab.customers[0]
    customer.pppoe("alice", "sesame")
    assert customer.dialled is not None
    (session,) = sessions(lab.gateway)
    with lab.access_node.trunk.capture() as trunk:
        lab.gateway.bng("clear", "session", str(session["id"]), "--config", str(lab.gateway.config_file))
        customer.dialled.wait_event("down")
        trunk.settle()
    assert Code.PADT in discovery(trunk.frames)
    assert (True, LCP_TERMINATE) in control(trunk.frames)
    assert not customer.ping(lab.server_address, count=1, timeout=0.3)


def test_a_customer_that_hangs_up_is_gone_at_once_and_gets_its_address_again(lab: Lab) -> None:
    customer = lab.customers[0]
    customer.pppoe("alice", "sesame")
    assert customer.dialled is not None
    customer.dialled.hang_up()
    wait_until(lambda: not sessions(lab.gateway), "the end of its session")
    customer.pppoe("alice", "sesame")
    assert customer.ping(lab.server_address)


def test_a_box_that_hangs_is_asked_three_times_and_is_gone(lab: Lab) -> None:
    customer = lab.customers[0]
    customer.pppoe("alice", "sesame", "--keepalive", "0")
    assert customer.dialled is not None
    with lab.access_node.trunk.capture() as trunk:
        customer.dialled.mute()
        wait_until(lambda: not sessions(lab.gateway), "the end of its session", 15)
        trunk.settle()
    asked = [code for gateway, code in control(trunk.frames) if gateway and code == LCP_ECHO_REQUEST]
    assert len(asked) >= 3
    assert Code.PADT in discovery(trunk.frames)


def test_who_lost_power_dials_again_and_replaces_what_was_there(lab: Lab) -> None:
    customer = lab.customers[0]
    first = customer.pppoe("alice", "sesame")
    second = customer.pppoe("alice", "sesame")  # the first is cut off without a word
    assert second.session_id != first.session_id
    wait_until(lambda: len(sessions(lab.gateway)) == 1, "one session")
    assert customer.ping(lab.server_address)


def test_a_session_of_before_is_told_that_it_is_over(lab: Lab) -> None:
    """The gateway has forgotten it: an echo request of nobody's is answered with PADT."""
    customer = lab.customers[0]
    customer.pppoe("alice", "sesame", "--keepalive", "1")
    assert customer.dialled is not None
    customer.dialled.process.signal(signal.SIGSTOP)
    (session,) = sessions(lab.gateway)
    lab.gateway.bng("clear", "session", str(session["id"]), "--config", str(lab.gateway.config_file))
    wait_until(lambda: not sessions(lab.gateway), "the end of its session")
    customer.dialled.process.signal(signal.SIGCONT)
    assert customer.dialled.wait_event("down")


# ---- what an engineer sees --------------------------------------------------------------


def bng(lab: Lab, *words: str) -> str:
    return lab.gateway.bng(*words, "--config", str(lab.gateway.config_file))


def test_explain_wraps_and_unwraps(lab: Lab) -> None:
    told = lab.customers[0].pppoe("alice", "sesame")
    assert lab.customers[0].ping(lab.server_address), "and the kernel knows the router by then"
    (session,) = sessions(lab.gateway)
    up = json.loads(bng(lab, "explain", *f"icmp from {told.address} to {lab.server_address}".split(), "--json"))
    assert (up["outcome"], up["session"]) == ("to-network", session["id"])
    assert f"PPPoE {told.session_id} icmp {told.address}" in up["came"]
    assert "PPPoE" not in up["leaves"]
    down = json.loads(bng(lab, "explain", *f"icmp from {lab.server_address} to {told.address}".split(), "--json"))
    assert (down["outcome"], down["out_device"]) == ("to-subscriber", "acc0")
    assert f"PPPoE {told.session_id} icmp {lab.server_address}" in down["leaves"]


def test_a_session_is_shown_with_its_name_its_number_and_what_happened_to_it(lab: Lab) -> None:
    customer = lab.customers[0]
    told = customer.pppoe("alice", "sesame")
    (shown,) = sessions(lab.gateway)
    assert (shown["pppoe"], shown["mtu"], shown["lease_s"]) == (told.session_id, 1492, None)
    assert customer.dialled is not None
    customer.dialled.hang_up()
    wait_until(lambda: not sessions(lab.gateway), "the end of its session")
    customer.pppoe("alice", "sesame")
    (told_of,) = json.loads(bng(lab, "show", "journal", str(customer.mac), "--json"))
    happened = [item["what"] for item in told_of["entries"]]
    assert happened[-4:] == ["admitted", "hung-up", "ending", "admitted"], "over both of its sessions"
    counted = json.loads(bng(lab, "show", "pppoe", "--json"))
    assert (counted["sessions"], counted["dialing"]) == (1, 0)
    assert counted["ended"]["peer-terminated"] + counted["ended"].get("padt", 0) >= 1


def test_a_capture_has_discovery_ppp_and_packets_of_both_directions(lab: Lab) -> None:
    customer = lab.customers[0]
    file = lab.folder / "pppoe.pcapng"
    capture = lab.gateway.start_command(
        "capture", str(customer.mac), "--seconds", "30", "--write", str(file), "--config", str(lab.gateway.config_file)
    )
    wait_until(lambda: "capturing" in capture.output() or file.exists(), "the capture")
    customer.pppoe("alice", "sesame")
    assert customer.ping(lab.server_address)
    capture.signal(signal.SIGINT)
    capture.wait()
    seen = lab.gateway.run("tshark", "-r", str(file), "-T", "fields", "-e", "frame.protocols")
    assert "pppoed" in seen
    assert "pppoes:ppp:lcp" in seen
    assert "pppoes:ppp:ipcp" in seen
    assert "pppoes:ppp:ip:icmp" in seen


def test_what_may_be_fragmented_is_and_what_may_not_is_told(lab: Lab) -> None:
    customer = lab.customers[0]
    told = customer.pppoe("alice", "sesame")
    with lab.access_node.trunk.capture() as trunk:
        assert lab.server.ping(told.address, count=1, size=1472), '1,500 octets without "don\'t fragment"'
        trunk.settle()
    assert all(len(frame.data) <= 14 + 8 + 8 + 1492 for frame in trunk.frames)
    refused = lab.server.ping(told.address, count=1, size=1472, df=True, timeout=1)
    assert not refused
    assert any("mtu" in words.lower() or "frag" in words.lower() for _, words in refused.errors), refused.text


def test_a_reload_counts_for_who_dials_next_and_costs_nobody_a_session(lab: Lab) -> None:
    first, second = lab.customers[0], lab.customers[2]
    told = first.pppoe("alice", "sesame")
    assert told.name == "edge-1"
    before = lab.gateway.config_file.read_text()
    try:
        lab.gateway.config_file.write_text(before.replace('name = "edge-1"', 'name = "edge-2"\nservices = ["gold"]'))
        bng(lab, "reload")
        assert second.pppoe("bob", "sesame").name == "edge-2"
        assert second.pppoe("bob", "sesame", "--service", "gold").name == "edge-2"
        assert first.ping(lab.server_address)
        assert told.session_id in {item["pppoe"] for item in sessions(lab.gateway)}
    finally:
        lab.gateway.config_file.write_text(before)
        bng(lab, "reload")


def test_who_dialled_on_a_port_that_a_reload_takes_away_hears_of_it() -> None:
    with Lab([DIALS]) as lab:
        gateway, (customer,) = lab.gateway, lab.customers
        gateway.namespace.ip("link add new0 mtu 1516 type veth peer name far0", "link set far0 up")
        gateway.start(lab.config(subscriber=BOTH, more=PPPOE.replace("mru = 1500\n", "")))
        customer.pppoe("alice", "sesame")
        elsewhere = {**BOTH, "number": 2, "device": "new0"}
        gateway.config_file.write_text(lab.config(subscriber=elsewhere, more=PPPOE.replace("mru = 1500\n", "")))
        bng(lab, "reload")
        assert not sessions(gateway)
        assert customer.dialled is not None
        assert customer.dialled.wait_event("down")["reason"] in ("peer-terminated", "padt")
