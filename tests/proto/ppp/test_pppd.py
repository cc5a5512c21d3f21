"""Sessions of a real client, pppd on Linux, as they were on the wire: the same is said to it again, to the octet."""

from ipaddress import IPv4Address

import pytest

from tests.proto.ppp.world import DNS, GATEWAY_ID, OWN, PEER, TIMERS
from tests.vectors import load
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.ppp.auth import Authentication, decode_chap
from wayleave.proto.ppp.ipcp import Addresses, IpcpServer
from wayleave.proto.ppp.ipv6cp import Ipv6cpServer
from wayleave.proto.ppp.news import Authenticate, Down, NetworkUp, Send
from wayleave.proto.ppp.packet import Protocol, decode, decode_options
from wayleave.proto.ppp.session import Session, Settings
from wayleave.proto.pppoe import discovery
from wayleave.proto.pppoe import packet as pppoe

NOW = BootNs(100 * SECOND)
DISCOVERY = "8863"
CHAP, PAP, MS = Authentication.CHAP_MD5, Authentication.PAP, Authentication.MS_CHAP_2
SESSIONS = load("pppd_sessions")
# By their place in the file: what the gateway demanded, the verdict, whether the gateway hung up, and how it ended.
TERMS = [
    ((CHAP, PAP), True, False, "peer-terminated"),
    ((PAP,), True, False, "peer-terminated"),
    ((MS, CHAP), True, False, "peer-terminated"),
    ((MS, CHAP, PAP), True, True, "closed"),
    ((CHAP,), False, False, "refused"),
]


class Capture:
    """One session's frames, by who sent them."""

    def __init__(self, row):
        frames = [(who, kind, bytes.fromhex(data)) for who, kind, data in row["frames"]]
        self.discovery = [(who, pppoe.decode(data)) for who, kind, data in frames if kind == DISCOVERY]
        self.session = [(who, pppoe.decode_session(data)) for who, kind, data in frames if kind != DISCOVERY]

    def said(self, who):
        return [(packet.protocol, packet.information) for by, packet in self.session if by == who]

    def entropy(self, count):
        """What the gateway had drawn: its magic number, its challenge, the challenge's identifier."""
        first = dict(decode_options(decode(self.said("gateway")[0][1]).data))
        challenges = [decode(data) for protocol, data in self.said("gateway") if protocol == Protocol.CHAP]
        if count == 4:
            return first[5]
        return decode_chap(challenges[0].data)[0] if count == 16 else bytes((challenges[0].identifier,))

    def message(self):
        """What the gateway said to the verdict, which its RADIUS would have told it."""
        protocol, data = next(
            (protocol, data)
            for protocol, data in self.said("gateway")
            if protocol in (Protocol.PAP, Protocol.CHAP) and data[0] > 1
        )
        return decode(data).data[1 if protocol == Protocol.PAP else 0 :]


def grant():
    return (
        IpcpServer(TIMERS, own=OWN, peer=PEER, dns=DNS),
        Ipv6cpServer(TIMERS, own=GATEWAY_ID, suggested=bytes(7) + b"\xc0"),
    )


def sent(output):
    return [(out.protocol, out.information) for out in output if isinstance(out, Send)]


def cases():
    return [pytest.param(row, *terms, id=row["meaning"]) for row, terms in zip(SESSIONS, TERMS, strict=True)]


@pytest.mark.parametrize(("row", "demands", "accepted", "hangs_up", "end"), cases())
def test_a_session_again(row, demands, accepted, hangs_up, end):
    capture = Capture(row)
    pads = next(packet for _, packet in capture.discovery if packet.code == pppoe.Code.PADS)
    most = pads.first(pppoe.PPP_MAX_PAYLOAD)
    mru = int.from_bytes(most, "big") if most else 1492
    session = Session(Settings(name=b"bng-1", demands=demands), capture.entropy, mru)
    heard = session.open(NOW)
    expected = 0
    for who, packet in capture.session:
        if who == "client":
            heard += session.receive(packet.protocol, packet.information, NOW)
        else:
            expected += 1
            if len(sent(heard)) < expected:  # nobody had asked for it: it was time for it, or somebody hung up
                terminates = (packet.protocol, packet.information[:1]) == (Protocol.LCP, b"\5")
                heard += session.close(NOW) if hangs_up and terminates else session.expire(session.deadline)
        for asked in [out for out in heard if isinstance(out, Authenticate)]:
            heard += session.decide(asked.attempt, accepted, capture.message(), grant(), NOW)
    assert sent(heard) == capture.said("gateway")
    assert [out.reason.value for out in heard if isinstance(out, Down)] == [end]
    agreed = {out.protocol: out.agreed for out in heard if isinstance(out, NetworkUp)}
    assert set(agreed) == ({Protocol.IPCP, Protocol.IPV6CP} if accepted else set())
    assert not accepted or agreed[Protocol.IPCP] == Addresses(OWN, IPv4Address("100.64.0.2"), DNS)


@pytest.mark.parametrize("row", SESSIONS, ids=lambda row: row["meaning"])
def test_its_discovery_again(row):
    capture = Capture(row)
    (_, padi), (_, pado), (_, padr), (_, pads) = capture.discovery[:4]
    concentrator = discovery.Concentrator(name="bng-1", services=("internet", ""))
    if pads.first(pppoe.PPP_MAX_PAYLOAD):
        concentrator = discovery.Concentrator(name="bng-1", services=("internet", ""), most_payload=1500)
    said = discovery.offer(padi, concentrator, pado.first(pppoe.AC_COOKIE))
    assert pppoe.decode(said) == pado
    confirmed = discovery.Confirmed(
        padr.first(pppoe.SERVICE_NAME),
        1500 if pads.first(pppoe.PPP_MAX_PAYLOAD) else 1492,
        padr.first(pppoe.AC_COOKIE),
        tuple(tag for tag in padr.tags if tag[0] == pppoe.HOST_UNIQ.number),
    )
    assert pppoe.decode(discovery.established(confirmed, pads.session_id)) == pads
