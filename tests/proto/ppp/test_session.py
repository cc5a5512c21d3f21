"""Sessions, gateway and client back to back: how they come up, go on and end."""

import sys
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.ppp.world import (
    CLIENT_ID,
    DNS,
    GATEWAY_ID,
    MILLISECOND,
    NAME,
    OWN,
    PEER,
    START,
    TIMERS,
    Wire,
    account,
    gateway_settings,
    granted,
    open_wire,
)
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.auth import Authentication, ChapMd5, MsChap2, Pap
from wayleave.proto.ppp.automaton import NEVER, State
from wayleave.proto.ppp.ipcp import Addresses, IpcpClient, IpcpServer
from wayleave.proto.ppp.ipv6cp import Identifiers, Ipv6cpClient
from wayleave.proto.ppp.lcp import Keepalive
from wayleave.proto.ppp.news import (
    Authenticate,
    Down,
    Dropped,
    Judged,
    NetworkDown,
    NetworkUp,
    Reason,
    Restarted,
    Send,
    Up,
)
from wayleave.proto.ppp.packet import Code, Protocol, encode, encode_options
from wayleave.proto.ppp.session import Phase, Session, Settings

CHAP, PAP, MS = Authentication.CHAP_MD5, Authentication.PAP, Authentication.MS_CHAP_2
METHODS = {PAP: Pap, CHAP: ChapMd5, MS: MsChap2}
QUIET = Keepalive(every=Ns(0))


def kinds(output):
    return [type(said) for said in output]


# ---- coming up --------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_session(method):
    wire = open_wire(gateway_settings(method))
    assert wire.agreed(True) == {"IPCP": Addresses(OWN, PEER, DNS), "IPV6CP": Identifiers(GATEWAY_ID, CLIENT_ID)}
    assert wire.agreed(False) == {"IPCP": Addresses(PEER, OWN, DNS), "IPV6CP": Identifiers(CLIENT_ID, GATEWAY_ID)}
    assert wire.now - START < 100 * MILLISECOND, "nobody had to wait for a timer"
    up, asked, *networks = wire.heard[True]
    assert up == Up(1492, method)
    assert (asked.attempt, asked.credentials.name) == (1, NAME)
    assert isinstance(asked.credentials, METHODS[method])
    assert kinds(networks) == [NetworkUp, NetworkUp]
    (judged,) = (said for said in wire.heard[False] if isinstance(said, Judged))
    assert judged.accepted
    assert judged.message.startswith({PAP: b"pap", CHAP: b"chap", MS: b"S="}[method])


def test_the_verdict_may_take_its_time():
    wire = Wire(gateway_settings(PAP), slow=20 * SECOND)
    wire.open()
    wire.run(lambda: wire.both_up)
    assert len([said for said in wire.heard[True] if isinstance(said, Authenticate)]) == 1, "asked once all the same"
    assert wire.count(True, Protocol.PAP, 2) == 1


def test_nobody_needs_to_say_who_it_is():
    wire = open_wire(gateway_settings())
    assert Authenticate(1, None) in wire.heard[True]
    assert wire.count(False, Protocol.PAP, 1) == 0


def test_the_next_authentication_is_taken():
    """A gateway that would have CHAP, a client that knows PAP alone."""
    wire = open_wire(gateway_settings(CHAP, PAP), account(PAP))
    assert wire.heard[True][0] == Up(1492, PAP)
    assert wire.count(True, Protocol.CHAP, 1) == 0


def test_no_authentication_that_both_know():
    wire = Wire(gateway_settings(CHAP), account(PAP))
    wire.open()
    wire.run(lambda: wire.gateway.phase is Phase.DEAD)
    assert wire.why(True) == "link-failed"
    assert kinds(wire.heard[True]) == [Down]


def test_a_client_that_will_not_say_who_it_is():
    wire = Wire(gateway_settings(CHAP), account(PAP))
    wire.client = Session(Settings(keepalive=QUIET), wire.random.randbytes, 1492)  # no account: it rejects the option
    wire.open()
    wire.run(lambda: wire.gateway.phase is Phase.DEAD)
    assert wire.why(True) == "link-failed"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_wrong_password(method):
    wire = Wire(gateway_settings(method), account(password=b"guess"))
    wire.open()
    wire.run(lambda: wire.both_down)
    assert (wire.why(True), wire.why(False)) == ("refused", "refused")
    assert not wire.agreed(True)
    assert wire.count(True, Protocol.LCP, Code.TERMINATE_REQUEST) >= 1
    (judged,) = (said for said in wire.heard[False] if isinstance(said, Judged))
    assert not judged.accepted
    assert judged.message.startswith({PAP: b"pap", CHAP: b"chap", MS: b"E=691"}[method])


def test_a_success_that_proves_nothing_is_not_believed():
    wire = Wire(gateway_settings(MS), verify=lambda _: (True, b"S=0000000000000000000000000000000000000000"))
    wire.open()
    wire.run(lambda: wire.client.phase is Phase.DEAD)
    (judged,) = (said for said in wire.heard[False] if isinstance(said, Judged))
    assert not judged.accepted


def test_a_gateway_and_networks_that_nobody_granted():
    wire = Wire(gateway_settings(PAP), grant=lambda: ())
    wire.open()
    wire.run(lambda: wire.gateway.phase is Phase.DEAD)
    assert wire.why(True) == "no-network"


def test_only_what_was_granted():
    """A client that wants IPv6 where there is none goes on without it."""
    wire = Wire(gateway_settings(CHAP), grant=lambda: granted()[:1])
    wire.open()
    wire.run(lambda: wire.is_up(True) and NetworkUp in kinds(wire.heard[False]))
    wire.run(seconds=60)
    assert list(wire.agreed(False)) == ["IPCP"]
    assert wire.count(True, Protocol.LCP, Code.PROTOCOL_REJECT) == 1
    assert wire.client.phase is Phase.NETWORK


def test_only_what_was_wanted():
    wire = Wire(gateway_settings(CHAP), networks=lambda: (IpcpClient(TIMERS),))
    wire.open()
    wire.run(seconds=60)
    assert list(wire.agreed(True)) == ["IPCP"]
    assert wire.gateway.phase is Phase.NETWORK
    assert wire.count(True, Protocol.IPV6CP, Code.CONFIGURE_REQUEST) == 1, "its Protocol-Reject was heard"


def test_nothing_that_both_want():
    wire = Wire(
        gateway_settings(CHAP), grant=lambda: granted()[:1], networks=lambda: (Ipv6cpClient(TIMERS, own=CLIENT_ID),)
    )
    wire.open()
    wire.run(lambda: wire.both_down)
    assert {wire.why(True), wire.why(False)} <= {"no-network", "peer-terminated"}


def test_silence_from_the_start():
    wire = Wire(gateway_settings(CHAP), lose=1)
    wire.open()
    wire.run(lambda: wire.both_down)
    assert (wire.why(True), wire.why(False)) == ("link-failed", "link-failed")
    assert wire.now - START == 30 * SECOND


@pytest.mark.parametrize(("method", "challenges"), [(PAP, 0), (CHAP, 10)])
def test_a_client_that_never_says_who_it_is(method, challenges):
    wire = Wire(gateway_settings(method, keepalive=QUIET))
    wire.filter = lambda gateway, protocol, _: gateway or protocol == Protocol.LCP
    wire.open()
    wire.run(lambda: wire.gateway.phase is Phase.DEAD)
    assert wire.why(True) == "not-authenticated"
    assert wire.now - START < 40 * SECOND
    assert wire.count(True, Protocol.CHAP, 1) == challenges


# ---- going on ---------------------------------------------------------------------------


def test_an_idle_session_has_one_timer():
    wire = open_wire(gateway_settings(CHAP))
    parts = [wire.gateway.link, wire.gateway._authenticator, *wire.gateway.networks]
    assert [part.deadline != NEVER for part in parts] == [True, False, False, False]
    assert wire.gateway.deadline == wire.gateway.link.deadline


def test_the_client_is_asked_whether_it_lives():
    wire = open_wire(gateway_settings(CHAP))
    wire.run(seconds=300)
    assert wire.both_up
    assert 5 <= wire.count(True, Protocol.LCP, Code.ECHO_REQUEST) <= 10
    assert wire.count(False, Protocol.LCP, Code.ECHO_REPLY) == wire.count(True, Protocol.LCP, Code.ECHO_REQUEST)


def test_a_client_that_is_gone():
    wire = open_wire(gateway_settings(CHAP))
    wire.filter = lambda gateway, *_: gateway
    gone = wire.now
    wire.run(lambda: wire.gateway.phase is Phase.DEAD)
    assert wire.why(True) == "silent"
    assert wire.count(True, Protocol.LCP, Code.ECHO_REQUEST) == 3
    assert 120 * SECOND <= wire.now - gone <= 130 * SECOND
    assert kinds(wire.heard[True])[-3:] == [NetworkDown, NetworkDown, Down]


def test_what_the_kernel_heard_counts():
    wire = open_wire(gateway_settings(CHAP))
    wire.filter = lambda gateway, *_: gateway
    for _ in range(60):
        wire.run(seconds=20)
        wire.gateway.heard(wire.now)
    assert wire.is_up(True)
    assert wire.count(True, Protocol.LCP, Code.ECHO_REQUEST) == 0


def test_echoes_are_answered():
    wire = open_wire(gateway_settings(CHAP))
    asked = encode(Code.ECHO_REQUEST, 77, wire.client.link._magic + b"abc")
    (said,) = wire.gateway.receive(Protocol.LCP, asked, wire.now)
    assert said == Send(Protocol.LCP, encode(Code.ECHO_REPLY, 77, wire.gateway.link._magic + b"abc"))


def test_an_unknown_protocol_is_rejected():
    wire = open_wire(gateway_settings(CHAP))
    (said,) = wire.gateway.receive(0x80FD, b"\1\1\0\4", wire.now)
    assert said.information[:1] == bytes((Code.PROTOCOL_REJECT,))
    assert said.information[4:] == b"\x80\xfd\1\1\0\4"
    assert kinds(wire.gateway.receive(Protocol.IPV4, bytes(40), wire.now)) == [Dropped]


def test_before_it_is_known_who_it_is_networks_are_not_heard():
    wire = Wire(gateway_settings(CHAP), slow=10 * SECOND)
    wire.open()
    wire.run(seconds=1)
    asked = encode(Code.CONFIGURE_REQUEST, 1, encode_options([(3, PEER.packed)]))
    for protocol in (Protocol.IPCP, 0x80FD):
        assert wire.gateway.receive(protocol, asked, wire.now) == [Dropped("unexpected")]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_repeated_credentials_get_the_same_answer(method):
    wire = open_wire(gateway_settings(method))
    protocol = Protocol.PAP if method is PAP else Protocol.CHAP
    (said,) = [octets for gateway, number, octets in wire.sent if not gateway and number == protocol]
    (verdict,) = [octets for gateway, number, octets in wire.sent if gateway and number == protocol][-1:]
    assert wire.gateway.receive(protocol, said, wire.now) == [Send(protocol, verdict)]
    assert wire.both_up


def test_a_success_that_is_lost():
    """The client waits for it, and says nothing until then."""
    wire = Wire(gateway_settings(CHAP))
    lost = []
    wire.filter = lambda gateway, protocol, said: (
        not (gateway and protocol == Protocol.CHAP and said[0] == 3 and not lost and not lost.append(said))
    )
    wire.open()
    wire.run(lambda: wire.both_up, seconds=5)
    assert len(lost) == 1
    wire.run(seconds=60)
    assert wire.count(True, Protocol.CHAP, 3) == 2


# ---- beginning anew ---------------------------------------------------------------------


def test_a_client_that_rebooted():
    wire = open_wire(gateway_settings(CHAP))
    before = len(wire.heard[True])
    wire.client = Session(Settings(keepalive=QUIET), wire.random.randbytes, 1492, wire.client.client)
    wire.take(False, wire.client.open(wire.now))
    wire.run(lambda: wire.both_up)
    after = wire.heard[True][before:]
    assert kinds(after) == [NetworkDown, NetworkDown, Restarted, Up, Authenticate, NetworkUp, NetworkUp]
    attempts = [said.attempt for said in wire.heard[True] if isinstance(said, Authenticate)]
    assert attempts[0] < attempts[1]


def test_a_verdict_on_what_is_void_is_void():
    wire = Wire(gateway_settings(PAP), slow=3600 * SECOND)
    wire.open()
    wire.run(lambda: Authenticate in kinds(wire.heard[True]), seconds=5)
    attempt = wire.heard[True][-1].attempt
    wire.take(True, wire.gateway.receive(Protocol.LCP, encode(Code.CONFIGURE_REQUEST, 200), wire.now))
    assert wire.heard[True][-1] == Restarted()
    assert wire.gateway.decide(attempt, True, b"", granted(), wire.now) == []
    wire.run(lambda: wire.gateway.phase is Phase.AUTHENTICATE, seconds=10)
    assert wire.gateway.decide(attempt, True, b"", granted(), wire.now) == []
    assert wire.gateway.phase is Phase.AUTHENTICATE


def test_a_verdict_counts_once():
    wire = open_wire(gateway_settings(PAP))
    assert wire.gateway.decide(1, False, b"", (), wire.now) == []
    assert wire.both_up


# ---- another process goes on ------------------------------------------------------------


def restarted(wire):
    """The gateway's process ends, and another goes on with its session."""
    kept = wire.gateway.kept()
    wire.gateway = Session(wire.gateway.settings, wire.random.randbytes, 1492)
    wire.gateway.resume(kept, wire.now)
    return kept


def test_a_client_does_not_notice_another_process():
    wire = open_wire(gateway_settings(CHAP), client_settings=Settings())
    before = len(wire.heard[False])
    kept = restarted(wire)
    assert (kept.addresses, kept.identifiers) == (Addresses(OWN, PEER, DNS), Identifiers(GATEWAY_ID, CLIENT_ID))
    assert restarted(wire) == kept, "nor yet another"
    wire.run(seconds=600)
    assert wire.both_up
    assert len(wire.heard[False]) == before
    assert wire.count(False, Protocol.LCP, Code.ECHO_REPLY) > 5, "it is asked whether it lives, by the same magic"
    wire.take(False, wire.client.close(wire.now))
    wire.run(lambda: wire.both_down)
    assert wire.why(True) == "peer-terminated"


def test_a_client_that_is_gone_by_the_time_another_process_goes_on():
    wire = open_wire(gateway_settings(CHAP))
    restarted(wire)
    wire.filter = lambda gateway, *_: gateway
    wire.run(lambda: wire.gateway.phase is Phase.DEAD)
    assert wire.why(True) == "silent"


def test_a_client_that_begins_anew_with_another_process():
    wire = open_wire(gateway_settings(CHAP))
    restarted(wire)
    before = len(wire.heard[True])
    wire.client = Session(Settings(keepalive=QUIET), wire.random.randbytes, 1492, wire.client.client)
    wire.take(False, wire.client.open(wire.now))
    wire.run(lambda: wire.both_up)
    assert kinds(wire.heard[True][before:])[:4] == [NetworkDown, NetworkDown, Restarted, Up]


def test_only_what_is_up_is_kept():
    wire = Wire(gateway_settings(CHAP))
    assert wire.gateway.kept() is None
    wire = open_wire(gateway_settings(CHAP), grant=lambda: granted()[:1], networks=lambda: (IpcpClient(TIMERS),))
    assert restarted(wire).identifiers is None
    assert wire.gateway.receive(Protocol.IPV6CP, encode(1, 1), wire.now)[0].information[:1] == b"\x08"
    wire.take(True, wire.gateway.close(wire.now))
    assert wire.gateway.kept() is None


# ---- the end ----------------------------------------------------------------------------


def test_closed_by_the_gateway():
    wire = open_wire(gateway_settings(CHAP))
    wire.take(True, wire.gateway.close(wire.now))
    assert kinds(wire.heard[True])[-2:] == [NetworkDown, NetworkDown]
    wire.run(lambda: wire.both_down)
    assert (wire.why(True), wire.why(False)) == ("closed", "peer-terminated")
    assert wire.gateway.deadline == NEVER


def test_closed_by_the_client():
    wire = open_wire(gateway_settings(CHAP))
    wire.take(False, wire.client.close(wire.now))
    wire.run(lambda: wire.both_down)
    assert (wire.why(True), wire.why(False)) == ("peer-terminated", "closed")
    assert kinds(wire.heard[True])[-3:] == [NetworkDown, NetworkDown, Down]
    assert wire.count(True, Protocol.LCP, Code.TERMINATE_ACK) == 1


def test_closed_and_nobody_is_there():
    wire = open_wire(gateway_settings(CHAP))
    wire.lose = 1
    wire.take(True, wire.gateway.close(wire.now, Reason.CLOSED))
    wire.run(lambda: wire.gateway.phase is Phase.DEAD, seconds=10)
    assert wire.why(True) == "closed"


def test_one_network_ends_and_the_other_goes_on():
    wire = open_wire(gateway_settings(CHAP))
    wire.filter = lambda _, protocol, __: protocol == Protocol.LCP
    said = wire.gateway.receive(Protocol.IPCP, encode(Code.TERMINATE_REQUEST, 9), wire.now)
    assert kinds(said) == [NetworkDown, Send]
    wire.take(True, said)
    wire.run(seconds=10)
    assert wire.gateway.phase is Phase.NETWORK
    assert [network.state for network in wire.gateway.networks] == [State.STOPPED, State.OPENED]
    wire.take(True, wire.gateway.receive(Protocol.IPV6CP, encode(Code.TERMINATE_REQUEST, 9), wire.now))
    wire.run(lambda: wire.gateway.phase is Phase.DEAD, seconds=20)
    assert wire.why(True) == "no-network"


def test_a_network_that_ended_may_begin_again():
    """The client's IPCP was only restarted: it asks again, and gets what was granted."""
    wire = open_wire(gateway_settings(CHAP))
    wire.take(True, wire.gateway.receive(Protocol.IPCP, encode(Code.TERMINATE_REQUEST, 9), wire.now))
    assert not wire.both_up
    wire.run(lambda: wire.both_up, seconds=10)
    assert wire.agreed(False)["IPCP"].own == PEER


def test_a_network_that_the_client_may_believe_in_is_not_left_half_open():
    """Its acknowledgements never arrive; ours did, so that it believes IPCP to be up."""
    wire = Wire(gateway_settings(CHAP))
    wire.filter = lambda gateway, protocol, said: gateway or (protocol, said[:1]) != (Protocol.IPCP, b"\2")
    wire.open()
    wire.run(lambda: wire.both_down)
    assert NetworkUp(Protocol.IPCP, Addresses(PEER, OWN, DNS)) in wire.heard[False]
    assert (wire.why(True), wire.why(False)) == ("half-open", "peer-terminated")


def test_a_dead_session_says_nothing():
    wire = open_wire(gateway_settings(CHAP))
    wire.take(True, wire.gateway.close(wire.now))
    wire.run(lambda: wire.both_down)
    gateway = wire.gateway
    assert gateway.receive(Protocol.LCP, encode(Code.ECHO_REQUEST, 1, bytes(4)), wire.now) == [Dropped("unexpected")]
    assert gateway.expire(BootNs(wire.now + 1000 * SECOND)) == []
    assert gateway.close(wire.now) == []
    gateway.heard(wire.now)


def test_a_loop():
    """Everything that a gateway says comes back to it."""
    session = Session(gateway_settings(CHAP), Wire(gateway_settings()).random.randbytes, 1492)
    coming, downs, now = session.open(START), [], START
    for _ in range(1000):
        packets = [said for said in coming if isinstance(said, Send)]
        downs += [said for said in coming if isinstance(said, Down)]
        if downs:
            break
        if packets:
            coming = [more for said in packets for more in session.receive(said.protocol, said.information, now)]
        else:
            now = session.deadline
            coming = session.expire(now)
    assert downs == [Down(Reason.LOOPED)]


# ---- addresses --------------------------------------------------------------------------


def test_a_client_that_wants_another_address_is_told_its_own():
    wire = open_wire(
        gateway_settings(CHAP),
        networks=lambda: (IpcpClient(TIMERS, wanted=IPv4Address("203.0.113.9")),),
        grant=lambda: granted()[:1],
    )
    assert wire.agreed(True)["IPCP"].peer == PEER
    assert wire.agreed(False)["IPCP"].own == PEER


@pytest.mark.parametrize("count", [0, 1, 2])
def test_resolvers(count):
    grant = lambda: (IpcpServer(TIMERS, own=OWN, peer=PEER, dns=DNS[:count]),)  # noqa: E731
    wire = open_wire(gateway_settings(CHAP), grant=grant, networks=lambda: (IpcpClient(TIMERS),))
    assert wire.agreed(True)["IPCP"].dns == wire.agreed(False)["IPCP"].dns == DNS[:count]


# ---- what a session costs ---------------------------------------------------------------


def test_a_session_is_small():
    """An idle session, with all its machines: what is its own, not what all share."""
    wire = open_wire(gateway_settings(CHAP))
    session = wire.gateway
    own = [session, session.link, session._authenticator, session.networks, *session.networks]
    assert sum(map(sys.getsizeof, own)) < 1200


# ---- whatever the carrier does ----------------------------------------------------------


@given(
    seed=st.integers(0, 1 << 30),
    lose=st.floats(0, 0.5),
    repeat=st.floats(0, 0.7),
    jitter=st.sampled_from([0, 50 * MILLISECOND, 4 * SECOND, 9 * SECOND]),
    method=st.sampled_from([CHAP, PAP]),
    slow=st.sampled_from([0, 2 * SECOND, 20 * SECOND]),
)
def test_both_come_up_or_both_end(seed, lose, repeat, jitter, method, slow):
    """A bad carrier for five minutes, then a good one: the two sides agree on what is up, and have calmed down."""
    chances = {"lose": lose, "repeat": repeat, "jitter": jitter}
    wire = Wire(gateway_settings(method), seed=seed, slow=slow, client_settings=Settings(), **chances)
    wire.open()
    wire.run(seconds=300)
    wire.lose = wire.repeat = wire.jitter = 0
    wire.run(seconds=300)
    assert (wire.gateway.phase, wire.client.phase) in [(Phase.NETWORK,) * 2, (Phase.DEAD,) * 2]
    ours, theirs = ([network.state for network in side.networks] for side in (wire.gateway, wire.client))
    assert [state is State.OPENED for state in ours] == [state is State.OPENED for state in theirs]
    assert set(ours + theirs) <= {State.OPENED, State.STOPPED}
    for side in (True, False):
        assert wire.side(side).phase is not Phase.DEAD or (wire.why(side) and wire.side(side).deadline == NEVER)
    if wire.both_up:
        assert wire.agreed(True)["IPCP"] == Addresses(OWN, PEER, DNS)
    assert len(wire.sent) < 1500


@given(seed=st.integers(0, 1 << 30), jitter=st.sampled_from([0, 50 * MILLISECOND]), method=st.sampled_from([CHAP, PAP]))
def test_on_a_carrier_that_loses_a_tenth_both_come_up(seed, jitter, method):
    wire = Wire(gateway_settings(method), seed=seed, lose=0.1, repeat=0.1, jitter=jitter)
    wire.open()
    wire.run(lambda: wire.both_up, seconds=120)


# ---- whatever the peer says -------------------------------------------------------------

PROTOCOLS = [*Protocol, 0x80FD, 0x0001]
BODIES = [
    b"",
    b"\0",
    b"\1\1",
    b"\1\0",
    b"\xff\xff",
    bytes(20),
    encode_options([(3, PEER.packed)]),
    encode_options([(1, b"\x05\xd4"), (5, b"\1\2\3\4")]),
    encode_options([(1, bytes(7) + b"\5")]),
    b"\x05alice\x03pw?",
    b"\x10" + bytes(16) + b"alice",
    b"\x80\x21\1\1\0\4",
    b"\xc0\x21\1\1\0\4",
    b"\xc0\x23\1\1\0\4",
]
words = st.one_of(
    st.tuples(
        st.sampled_from(PROTOCOLS),
        st.builds(encode, st.integers(0, 15), st.integers(0, 3), st.sampled_from(BODIES)),
    ),
    st.tuples(st.sampled_from(PROTOCOLS), st.binary(max_size=30)),
)


def at_phase(phase, method):
    """A gateway that has come that far with a true client, and no further."""
    wire = Wire(gateway_settings(method), slow=1000 * SECOND if phase is Phase.AUTHENTICATE else 0)
    if phase is Phase.DEAD:
        return wire
    wire.open()
    if phase is not Phase.ESTABLISH:
        wire.run(lambda: wire.gateway.phase is (Phase.AUTHENTICATE if wire.slow else Phase.NETWORK), seconds=10)
    if phase is Phase.TERMINATE:
        wire.gateway.close(wire.now)
    assert wire.gateway.phase is phase
    return wire


def left_alone(session, now):
    """What becomes of a session when nobody says anything any more, and no verdict comes."""
    for _ in range(100):
        if session.deadline == NEVER:
            return session.phase
        now = max(now, session.deadline)
        session.expire(now)
    raise AssertionError("it never comes to an end")


@pytest.mark.parametrize("method", [PAP, CHAP, MS], ids=lambda method: method.name)
@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=hex)
def test_every_code_in_every_phase_with_any_body(protocol, phase, method):
    wire = at_phase(phase, method)
    for code in range(16):
        for body in BODIES:
            for octets in (encode(code, 1, body), encode(code, 1, body)[:-1], encode(code, 1, body) + b"\xff"):
                said = wire.gateway.receive(protocol, octets, wire.now)
                assert len(said) < 12
                for out in said:
                    assert not isinstance(out, Send) or len(out.information) < len(octets) + 90
    assert left_alone(wire.gateway, wire.now) is Phase.DEAD


@given(st.sampled_from([PAP, CHAP, MS]), st.lists(words, max_size=60))
def test_no_client_wedges_a_session(method, spoken):
    """Whatever is said to it, and however a verdict goes: left alone, it ends, and says once that it did."""
    session = Session(gateway_settings(method), Wire(gateway_settings()).random.randbytes, 1492)
    heard = session.open(START)
    for number, (protocol, octets) in enumerate(spoken):
        said = session.receive(protocol, octets, BootNs(START + number * MILLISECOND))
        for asked in [out for out in said if isinstance(out, Authenticate)]:
            said += session.decide(asked.attempt, number % 3 > 0, b"", granted(), BootNs(START + number * MILLISECOND))
        assert len([out for out in said if isinstance(out, Send)]) < 12
        heard += said
    assert left_alone(session, START) is Phase.DEAD
    assert len([out for out in heard if isinstance(out, Down)]) <= 1
    opened = [out.protocol for out in heard if isinstance(out, NetworkUp)]
    closed = [out.protocol for out in heard if isinstance(out, NetworkDown)]
    assert all(opened.count(protocol) - closed.count(protocol) in (0, 1) for protocol in {*opened, *closed})
