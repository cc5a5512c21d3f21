"""Ethernet, tags and IPv4 as they come in: which client a frame belongs to, and what is refused unread."""

from __future__ import annotations

import pytest

from wayleave.dataplane.abi import DropReason, Outcome, Stage
from wayleave.net.mac import BROADCAST, Mac

from .frames import IP, Raw, Tags, discover, ethernet, from_kernel, into, out, packet, request, up
from .rig import (
    ALICE,
    EVERYBODY,
    GATEWAY_MAC,
    KERNEL_MAC,
    LINK,
    LINK_MAC,
    NET,
    SUB,
    Bench,
    Case,
    Subscriber,
    Use,
    dropped,
)

S, C = 0x88A8, 0x8100
MAC = Mac.parse("02:dd:00:00:00:0d")

# What stands in the frame, outermost first, as (TPID, TCI), and the S-VID and C-VID that it means.
TAGS: list[tuple[str, Tags, tuple[int, int]]] = [
    ("untagged", (), (0, 0)),
    ("one 802.1Q", ((C, 100),), (100, 0)),
    ("one 802.1ad", ((S, 100),), (100, 0)),
    ("802.1ad around 802.1Q", ((S, 100), (C, 7)), (100, 7)),
    ("802.1Q around 802.1Q", ((C, 100), (C, 7)), (100, 7)),
    ("802.1ad around 802.1ad", ((S, 100), (S, 7)), (100, 7)),
    ("802.1Q around 802.1ad", ((C, 100), (S, 7)), (100, 7)),
    ("S-VID equal to C-VID", ((S, 100), (C, 100)), (100, 100)),
    ("the same two VIDs the other way round", ((S, 7), (C, 100)), (7, 100)),
    ("the largest VID", ((S, 4094), (C, 4094)), (4094, 4094)),
    ("a priority tag alone", ((C, 0),), (0, 0)),
    ("an 802.1ad priority tag alone", ((S, 0),), (0, 0)),
    ("two priority tags", ((S, 0), (C, 0)), (0, 0)),
    ("a priority tag outside", ((S, 0), (C, 7)), (7, 0)),
    ("a priority tag inside", ((S, 100), (C, 0)), (100, 0)),
    ("priority and DEI bits set", ((S, 0xF000 | 100), (C, 0xB000 | 7)), (100, 7)),
    ("VID 0 with priority bits", ((C, 0xE000),), (0, 0)),
]


@pytest.mark.parametrize(("tags", "vids"), [row[1:] for row in TAGS], ids=[row[0] for row in TAGS])
def test_tags_lead_to_the_client_they_name(bench: Bench, tags: Tags, vids: tuple[int, int]) -> None:
    """The frame is the client's under the right key, leaves untagged, and is nobody's under any other key."""
    every = {meaning for _, _, meaning in TAGS} | {(0, 100), (0, 7)}
    clients = {
        meaning: Subscriber(number, MAC, f"100.64.0.{number}", tuple((C, vid) for vid in meaning if vid))
        for number, meaning in enumerate(sorted(every), 20)
        if meaning[0] or not meaning[1]
    }
    right = clients.pop(vids)
    sent = ethernet(packet(right.address), MAC, GATEWAY_MAC, tags)
    forwarded = out(packet(right.address, ttl=63))
    used = {right: Use(up=(1, len(packet())))}
    everybody = [*clients.values(), right]
    bench.check(
        Case("", sent, (Stage.FORWARD, Outcome.TO_NETWORK), out=forwarded, to=NET, sessions=everybody, used=used)
    )
    bench.reset()
    bench.check(dropped("", sent, Stage.ADMIT, DropReason.NO_SESSION, sessions=list(clients.values())))


def _with(frame: bytes, offset: int, octets: str) -> bytes:
    return frame[:offset] + bytes.fromhex(octets) + frame[offset + len(octets) // 2 :]


PLAIN = up(packet(), tags=())
IP_AT = 14
CASES = [
    dropped("three tags", up(packet(), tags=((S, 1), (C, 2), (C, 3))), Stage.PARSE, DropReason.TOO_MANY_TAGS),
    dropped("three 802.1ad tags", up(packet(), tags=((S, 1), (S, 2), (S, 3))), Stage.PARSE, DropReason.TOO_MANY_TAGS),
    dropped("a tag cut off", up(packet())[:17], Stage.PARSE, DropReason.TRUNCATED),
    dropped("the second tag cut off", up(packet())[:21], Stage.PARSE, DropReason.TRUNCATED),
    dropped("an IPv4 header cut off", PLAIN[: IP_AT + 19], Stage.PARSE, DropReason.TRUNCATED),
    dropped("a source MAC of zeros", _with(PLAIN, 6, "000000000000"), Stage.PARSE, DropReason.SOURCE_MAC),
    dropped("a multicast source MAC", _with(PLAIN, 6, "03aa0000000a"), Stage.PARSE, DropReason.SOURCE_MAC),
    dropped("the broadcast address as source", _with(PLAIN, 6, "ffffffffffff"), Stage.PARSE, DropReason.SOURCE_MAC),
    dropped("IPv6 from a subscriber", _with(PLAIN, 12, "86dd"), Stage.PARSE, DropReason.ETHERTYPE),
    dropped("an 802.3 length", _with(PLAIN, 12, "0026"), Stage.PARSE, DropReason.ETHERTYPE),
    dropped("the old QinQ TPID 0x9100", _with(PLAIN, 12, "9100"), Stage.PARSE, DropReason.ETHERTYPE),
    dropped("IP version 6 under IPv4's type", _with(PLAIN, IP_AT, "65"), Stage.PARSE, DropReason.MALFORMED_IPV4),
    dropped("a header of 16 octets", _with(PLAIN, IP_AT, "44"), Stage.PARSE, DropReason.MALFORMED_IPV4),
    dropped("a header longer than the packet", _with(PLAIN, IP_AT, "4f"), Stage.PARSE, DropReason.MALFORMED_IPV4),
    dropped("a total length below the header", _with(PLAIN, IP_AT + 2, "0013"), Stage.PARSE, DropReason.MALFORMED_IPV4),
    dropped(
        "a total length one past the frame",
        _with(PLAIN, IP_AT + 2, f"{len(PLAIN) - IP_AT + 1:04x}"),
        Stage.PARSE,
        DropReason.MALFORMED_IPV4,
    ),
    dropped(
        "a total length past the frame, inside tags",
        up(packet())[:-1],
        Stage.PARSE,
        DropReason.MALFORMED_IPV4,
    ),
    Case(
        "Ethernet's padding behind the packet is not counted",
        up(packet()) + bytes(20),
        (Stage.FORWARD, Outcome.TO_NETWORK),
        out=out(packet(ttl=63)) + bytes(20),
        to=NET,
        used={ALICE: Use(up=(1, len(packet())))},
    ),
    dropped("a device that is not configured", into(packet()), Stage.PARSE, DropReason.UNKNOWN_PORT, on="odd"),
    Case("ARP on a network port", into(request("198.51.100.1")), (Stage.PARSE, Outcome.PASSED), on="net"),
    Case("IPv6 on a network port", _with(into(packet()), 12, "86dd"), (Stage.PARSE, Outcome.PASSED), on="net"),
    Case("a VLAN on a network port", into(packet(), tags=((C, 9),)), (Stage.PARSE, Outcome.PASSED), on="net"),
    Case("802.1ad on a network port", into(packet(), tags=((S, 9),)), (Stage.PARSE, Outcome.PASSED), on="net"),
    dropped(
        "malformed IPv4 on a network port",
        _with(into(packet()), IP_AT, "44"),
        Stage.PARSE,
        DropReason.MALFORMED_IPV4,
        on="net",
    ),
    dropped(
        "ARP from the kernel's end", from_kernel(request("1.1.1.1")), Stage.PARSE, DropReason.LINK_NOISE, on="link"
    ),
    dropped(
        "IPv6 from the kernel's end",
        ethernet(Raw(bytes(40)), KERNEL_MAC, LINK_MAC, type_=0x86DD),
        Stage.PARSE,
        DropReason.LINK_NOISE,
        on="link",
    ),
    dropped(
        "a tag from the kernel's end",
        ethernet(packet(), KERNEL_MAC, LINK_MAC, ((C, 9),)),
        Stage.PARSE,
        DropReason.LINK_NOISE,
        on="link",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(bench: Bench, case: Case) -> None:
    bench.check(case)


def test_program_serves_only_its_kind_of_port(bench: Bench) -> None:
    """Attached to the wrong port, a program drops and says so, rather than treating the network as subscribers."""
    for program, device in (("bng_access", "net"), ("bng_access", "link"), ("bng_core", "sub")):
        before = bench.counters()
        bench.run_program(program, into(packet()), device)
        counted = bench.counters().since(before)
        assert counted.reasons == {DropReason.UNKNOWN_PORT: 1}
        assert counted.received[0] == 1


WHOLE = [
    ("untagged", "sub", ethernet(packet(EVERYBODY[1].address), EVERYBODY[1].mac, GATEWAY_MAC)),
    ("two tags", "sub", up(packet())),
    ("options", "sub", up(IP(src=ALICE.address, dst="8.8.8.8", options=[b"\x94\x04\0\0"]) / Raw(b"abcd"))),
    ("ARP", "sub", up(request("100.64.0.1"), destination=BROADCAST)),
    ("DHCP", "sub", up(discover(), destination=BROADCAST)),
    ("from the network", "net", into(packet("8.8.8.8", ALICE.address))),
    ("from the kernel", "link", from_kernel(packet("8.8.8.8", ALICE.address))),
]


@pytest.mark.parametrize(("on", "frame"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
def test_cut_off_at_every_octet(bench: Bench, on: str, frame: bytes) -> None:
    """Whole it goes its way; one octet short or more, it is dropped for that, and each is counted once."""
    bench.place(EVERYBODY)
    bench.open_only(NET, LINK, SUB)
    before = bench.counters()
    assert bench.run(frame, on).verdict != 0
    assert bench.counters().since(before).reasons == {}
    for length in range(14, len(frame)):
        before = bench.counters()
        bench.run(frame[:length], on)
        counted = bench.counters().since(before)
        counted.assert_balanced()
        assert sum(counted.received) == 1
        assert counted.received[0] == 0
        assert set(counted.reasons) <= {DropReason.TRUNCATED, DropReason.MALFORMED_IPV4}, length
        assert {(stage in (Stage.PARSE, Stage.ARP), outcome) for stage, outcome in counted.ends} == {
            (True, Outcome.DROPPED)
        }
