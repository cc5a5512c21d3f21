"""TCP's maximum segment size: brought down to what a PPPoE client's MTU has room for, both ways, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import in4_chksum

from wayleave.dataplane.abi import Outcome, SessionFlag, Stage

from .frames import INTERNET, IP, TCP, Packet, Raw, down, from_kernel, into, out, up
from .rig import ALICE, ALICE_PPP, BOB, BOB_PPP, NET, SUB, Bench, Case, Subscriber, Use

FLAGS = SessionFlag.CHECK_SOURCE | SessionFlag.CLAMP_MSS
WHO = replace(ALICE_PPP, flags=FLAGS)
SMALL = replace(BOB_PPP, flags=FLAGS, mtu=1400)
FITS = 1452
"""Octets of TCP in an IPv4 packet of 1,492."""

PAD = ("NOP", None)
END = ("EOL", None)
STAMP = ("Timestamp", (1, 2))
LINUX = [("SAckOK", b""), STAMP, PAD, ("WScale", 7)]


def mss(size: int) -> tuple[str, int]:
    return ("MSS", size)


def segment(options: Any, who: Subscriber = WHO, flags: str = "S", ttl: int = 64, **ip: Any) -> Packet:
    """Return a segment of the client's; scapy computes the checksum from what the options are."""
    head = IP(src=who.address, dst=INTERNET, ttl=ttl, id=7, **ip)
    return head / TCP(sport=4000, dport=80, flags=flags, options=options, seq=0x12345678) / Raw(b"odd")


def reply(options: Any, who: Subscriber = WHO, flags: str = "SA", ttl: int = 64) -> Packet:
    """Return a segment to the client."""
    head = IP(src=INTERNET, dst=who.address, ttl=ttl, id=7)
    return head / TCP(sport=80, dport=4000, flags=flags, options=options, seq=0x9ABCDEF0)


def raw(octets: str, words: int | None = None) -> Packet:
    """Return a SYN with options of those octets, in hexadecimal. Its header says that it has `words`, or the truth."""
    options = bytes.fromhex(octets)
    head = bytes(TCP(sport=4000, dport=80, flags="S", dataofs=words or 5 + len(options) // 4, chksum=0))[:20]
    packet = IP(src=WHO.address, dst=INTERNET, proto=6, id=7) / Raw(head + options)
    check = in4_chksum(6, packet, bytes(packet.payload))
    packet.payload = Raw(head[:16] + check.to_bytes(2, "big") + head[18:] + options)
    return packet


def older(payload: Packet) -> Packet:
    changed = payload.copy()
    del changed.chksum
    changed.ttl -= 1
    return changed


def sent(says: str, before: Packet, after: Packet | None = None, who: Subscriber = WHO) -> Case:
    """A row for a segment from the client; `after`: what of it leaves, if it does not stay as it was."""
    return Case(
        says,
        up(before, who),
        (Stage.FORWARD, Outcome.TO_NETWORK),
        out=out(older(before if after is None else after)),
        to=NET,
        sessions=[ALICE, who] if who.id != ALICE.id else [who],
        used={who: Use(up=(1, len(before)))},
    )


def told(says: str, before: Packet, after: Packet | None = None, who: Subscriber = WHO) -> Case:
    """A row for a segment to the client."""
    return Case(
        says,
        into(before),
        (Stage.DELIVER, Outcome.TO_SUBSCRIBER),
        on="net",
        out=down(older(before if after is None else after), who),
        to=SUB,
        sessions=[who],
        used={who: Use(down=(1, len(before)))},
    )


PLAIN = replace(WHO, flags=SessionFlag.CHECK_SOURCE)
IPOE = replace(ALICE, mtu=1492)

CLAMPED = [
    sent("a SYN", segment([mss(1460)]), segment([mss(FITS)])),
    sent("a SYN of Linux", segment([mss(1460), *LINUX]), segment([mss(FITS), *LINUX])),
    sent("of a jumbo frame", segment([mss(8960)]), segment([mss(FITS)])),
    sent("the largest there is", segment([mss(65535)]), segment([mss(FITS)])),
    sent("one octet too many", segment([mss(FITS + 1)]), segment([mss(FITS)])),
    sent("just what fits", segment([mss(FITS)])),
    sent("less than fits is not raised", segment([mss(536)])),
    sent("a size of 0", segment([mss(0)])),
    sent("a SYN and ACK", segment([mss(1460)], flags="SA"), segment([mss(FITS)], flags="SA")),
    sent("not a SYN", segment([mss(1460)], flags="A")),
    sent("a RST", segment([mss(1460)], flags="R")),
    sent("at an odd place", segment([PAD, mss(1460)]), segment([PAD, mss(FITS)])),
    sent("at an odd place behind others", segment([STAMP, PAD, mss(1460)]), segment([STAMP, PAD, mss(FITS)])),
    sent("at an even place behind others", segment([STAMP, mss(1460)]), segment([STAMP, mss(FITS)])),
    sent("in the last four octets", segment([PAD] * 36 + [mss(1460)]), segment([PAD] * 36 + [mss(FITS)])),
    sent("cut off by the header's end", raw("01" * 37 + "0204ff")),
    sent("behind the end of options", raw("000204ff")),
    sent("behind the end of options, whole", raw("00000000020405b4")),
    sent("of a wrong length", raw("020605b400000000")),
    sent("behind an option of no length", raw("fe00020405b40000")),
    sent("behind an option of length 1", raw("fe01020405b40000")),
    sent("behind an option that passes the end", raw("fe30020405b40000")),
    sent("behind an unknown option", raw("fe03ff01020405b4"), raw("fe03ff01020405ac")),
    sent("no options", segment([])),
    sent("others alone", segment(LINUX)),
    sent("a header that passes the packet's end", raw("020405b4", words=7)),
    sent("a later fragment that looks like one", segment([mss(1460)], frag=10)),
    sent("UDP that looks like one", segment([mss(1460)], proto=17)),
    sent("a row that says nothing of it", segment([mss(1460)], PLAIN), who=PLAIN),
    sent("IPoE of a small MTU", segment([mss(1460)], IPOE), who=IPOE),
    sent("another row's MTU", segment([mss(1460)], SMALL), segment([mss(1360)], SMALL), who=SMALL),
    told("what the client is told", reply([mss(1460), *LINUX]), reply([mss(FITS), *LINUX])),
    told("what it is told at an odd place", reply([PAD, mss(1460)]), reply([PAD, mss(FITS)])),
    told("not a SYN to the client", reply([mss(1460)], flags="A")),
    told("a row that says nothing of it to the client", reply([mss(1460)], PLAIN), who=PLAIN),
    told("IPoE of a small MTU to the client", reply([mss(1460)], IPOE), who=IPOE),
]


def hairpin(says: str, size: int, left: int, who: Subscriber, to: Subscriber) -> Case:
    """A row for a SYN from one client to another: whoever has less room decides."""

    def syn(size: int, ttl: int) -> Packet:
        head = IP(src=who.address, dst=to.address, ttl=ttl)
        return head / TCP(sport=4000, dport=80, flags="S", options=[mss(size)])

    whole = len(syn(size, 64))
    return Case(
        says,
        up(syn(size, 64), who),
        (Stage.FORWARD, Outcome.TO_SUBSCRIBER),
        out=down(syn(left, 63), to),
        to=SUB,
        sessions=[who, to],
        used={who: Use(up=(1, whole)), to: Use(down=(1, whole))},
    )


CLAMPED += [
    hairpin("between two PPPoE clients, the receiver's", 1460, 1360, WHO, SMALL),
    hairpin("between two PPPoE clients, the sender's", 1460, 1360, SMALL, WHO),
    hairpin("from IPoE to PPPoE", 1460, FITS, BOB, WHO),
    hairpin("from PPPoE to IPoE", 1460, FITS, WHO, BOB),
    Case(
        "what the kernel has forwarded",
        from_kernel(reply([mss(1460)])),
        (Stage.DELIVER, Outcome.TO_SUBSCRIBER),
        on="link",
        out=down(reply([mss(FITS)]), WHO),
        to=SUB,
        sessions=[WHO],
        used={WHO: Use(down=(1, len(reply([mss(1460)]))))},
    ),
]


@pytest.mark.parametrize("case", CLAMPED, ids=str)
def test_case(bench: Bench, case: Case) -> None:
    bench.check(case)


@pytest.mark.parametrize("pads", [0, 1], ids=["even", "odd"])
def test_the_checksum_holds_whatever_it_was(bench: Bench, pads: int) -> None:
    """Over all sums that there are, among them those where a carry is all that is left of it."""
    bench.place([WHO])
    bench.open_only(NET)
    for number in range(0, 0x10000, 97):
        before, after = (segment([PAD] * pads + [mss(size)]) for size in (0x8000 | number, FITS))
        before[TCP].ack = after[TCP].ack = number * 0x10001
        assert bench.run(up(before, WHO)).packet == out(older(after))
