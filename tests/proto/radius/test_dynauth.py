"""Requests of controllers: who is heard, what is believed, and that nothing is done twice."""

import hashlib
from ipaddress import IPv4Address

import pytest
from pyrad import packet as theirs

from tests.vectors import feed
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, UtcNs
from wayleave.proto.radius import dynauth
from wayleave.proto.radius.dynauth import WINDOW, Controller, Listener, Request, Source
from wayleave.proto.radius.packet import Code, accounting_request, decode, dynauth_request

SECRET = b"s3cret"
FROM = Source(IPv4Address("10.9.0.2"), 4000)
NOW, UTC = BootNs(50 * SECOND), UtcNs(1_800_000_000 * SECOND)
STAMP = (55, (1_800_000_000).to_bytes(4, "big"))


def listener(ignored=lambda _address, _why: None, **how):
    return Listener({FROM.address: Controller(secret=Secret(SECRET), **how)}, ignored)


def coa(identifier=1, attributes=(STAMP,), code=Code.COA_REQUEST, secret=SECRET):
    return dynauth_request(code, identifier, attributes, secret)


def test_a_request_is_heard_and_answered():
    listens = listener()
    request = listens.receive(FROM, coa(attributes=[(44, b"x"), (33, b"p1"), (33, b"p2")]), NOW, UTC)
    assert isinstance(request, Request)
    assert not request.disconnects
    answer = decode(listens.answer(request, None))
    assert (answer.code, answer.identifier, answer.all(33)) == (Code.COA_ACK, 1, [b"p1", b"p2"])
    request = listens.receive(FROM, coa(2, code=Code.DISCONNECT_REQUEST), NOW, UTC)
    assert isinstance(request, Request)
    assert request.disconnects
    answer = decode(listens.answer(request, 503))
    assert (answer.code, answer.first(101)) == (Code.DISCONNECT_NAK, (503).to_bytes(4, "big"))
    assert listens.counts == {"coa": 1, "disconnect": 1, "acknowledged": 1, "refused": 1}


def test_pyrad_asks_and_believes_the_answer():
    asked = theirs.CoAPacket(secret=SECRET, id=7, dict=None)
    octets = asked.RequestPacket()
    listens = listener(required=False)
    request = listens.receive(FROM, octets, NOW, UTC)
    assert isinstance(request, Request)
    reply = listens.answer(request, None)
    assert asked.VerifyReply(theirs.CoAPacket(secret=SECRET, packet=reply), reply)
    assert listener().receive(FROM, octets, NOW, UTC) is None, "by default it needs a Message-Authenticator"


def test_a_repetition_gets_the_same_answer_and_nothing_is_done_again():
    listens = listener()
    request = listens.receive(FROM, coa(), NOW, UTC)
    assert isinstance(request, Request)
    assert listens.receive(FROM, coa(), NOW, UTC) is None, "the first is still being worked on"
    answer = listens.answer(request, None)
    assert listens.receive(FROM, coa(), BootNs(NOW + 5 * SECOND), UTC) == answer
    assert listens.counts["repeated"] == 2
    late = BootNs(NOW + 2 * WINDOW + SECOND)
    assert listens.receive(FROM, coa(), late, UtcNs(UTC + 2 * WINDOW)) is None
    assert listens.counts["stale"] == 1, "once forgotten, its timestamp keeps it out"


def test_from_another_port_it_is_the_same_request():
    """Who captured one cannot have it carried out again, nor fill the memory of what was answered."""
    listens = listener()
    request = listens.receive(FROM, coa(), NOW, UTC)
    assert isinstance(request, Request)
    answer = listens.answer(request, None)
    for port in range(5000, 5100):
        assert listens.receive(Source(FROM.address, port), coa(), NOW, UTC) == answer
    assert listens.counts == {"coa": 1, "acknowledged": 1, "repeated": 100}


@pytest.mark.parametrize(
    ("what", "octets", "source", "how"),
    [
        ("unknown-source", coa(), Source(IPv4Address("10.9.0.3"), 4000), {}),
        ("bad-authenticator", coa(secret=b"other"), FROM, {}),
        ("no-message-authenticator", accounting_request(1, [], SECRET).replace(b"\4", b"+", 1), FROM, {}),
        ("unexpected-code", coa(code=Code.ACCESS_REQUEST), FROM, {}),
        ("malformed", coa()[:-1], FROM, {}),
        ("no-timestamp", coa(attributes=()), FROM, {"timestamped": True}),
        ("malformed", coa(attributes=[(55, b"123")]), FROM, {}),
        ("stale", coa(attributes=[(55, (1_800_000_301).to_bytes(4, "big"))]), FROM, {}),
        ("stale", coa(attributes=[(55, (1_799_999_699).to_bytes(4, "big"))]), FROM, {}),
    ],
)
def test_what_is_not_believed_gets_no_answer(what, octets, source, how):
    heard = []
    listens = listener(lambda *ignored: heard.append(ignored), **how)
    if what == "no-message-authenticator":
        blank = octets[:4] + bytes(16) + octets[20:]
        octets = octets[:4] + hashlib.md5(blank + SECRET).digest() + octets[20:]
    assert listens.receive(source, octets, NOW, UTC) is None
    assert listens.counts == {what: 1}
    assert heard == [(source.address, what)]


def test_without_a_clock_timestamps_cannot_be_checked():
    assert isinstance(listener().receive(FROM, coa(attributes=[(55, bytes(4))]), NOW, None), Request)
    strict = listener(timestamped=True)
    assert strict.receive(FROM, coa(), NOW, None) is None
    assert strict.counts == {"clock-unset": 1}


def test_spoilt_requests_raise_nothing():
    listens = listener()

    def receive(octets):
        listens.receive(FROM, octets, NOW, UTC)

    feed(receive, coa())
    assert listens.counts["bad-authenticator"] > 50


def test_a_flood_of_true_requests_is_bounded(monkeypatch):
    monkeypatch.setattr(dynauth, "KEPT", 4096)
    listens = listener()
    for number in range(5000):
        listens.receive(FROM, coa(number % 256, [STAMP, (44, b"%d" % number)]), NOW, UTC)
    assert listens.counts == {"coa": 4096, "too-many": 904}
