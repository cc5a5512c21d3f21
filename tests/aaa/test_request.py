"""What a server is told: names and numbers that the standards give, and values that always fit."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.aaa.clients import CALLER, dialing, session
from wayleave.aaa import request
from wayleave.aaa.request import TERMINATED, Status, nas_port
from wayleave.net.units import SECOND, Ns
from wayleave.proto.ppp.auth import Credentials, Pap
from wayleave.proto.pppoe.line import Figure, LineInfo, encode
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.session.model import CloseCause, Line, Link, Session, Used

ENDS = {
    CloseCause.USER_REQUEST: "User-Request",
    CloseCause.LEASE_EXPIRED: "Lost-Carrier",
    CloseCause.DECLINED: "User-Error",
    CloseCause.OFFER_LAPSED: "User-Request",
    CloseCause.DISPLACED: "Port-Preempted",
    CloseCause.ADMIN_RESET: "Admin-Reset",
    CloseCause.REFUSED: "Service-Unavailable",
    CloseCause.NO_ADDRESS: "NAS-Error",
    CloseCause.STORE_FAILED: "NAS-Error",
    CloseCause.TABLE_FULL: "NAS-Error",
    CloseCause.SESSION_TIMEOUT: "Session-Timeout",
    CloseCause.IDLE_TIMEOUT: "Idle-Timeout",
    CloseCause.DISCONNECTED: "Admin-Reset",
    CloseCause.STOPPED: "Admin-Reboot",
    CloseCause.REBOOTED: "NAS-Reboot",
    CloseCause.RECONFIGURED: "NAS-Request",
    CloseCause.LOST_CARRIER: "Lost-Carrier",
    CloseCause.NOT_NEGOTIATED: "Port-Error",
    CloseCause.BLOCK_LOST: "NAS-Request",
}


def told(of: Session, status: Status, used: Used = Used(), lasted: Ns = Ns(0)) -> dict[str, Any]:
    avps = request.accounting(of, request.subject(of, "bng1", trusted=True), CALLER, status, used, lasted)
    return {row.name: row.decode(octets) for row, octets in STANDARD.explode(avps)}


@pytest.mark.parametrize("cause", CloseCause, ids=lambda cause: cause.value)
def test_every_way_to_end_has_its_cause(cause: CloseCause) -> None:
    named = STANDARD["Acct-Terminate-Cause"].values[ENDS[cause]]
    assert TERMINATED[cause] == named
    assert told(session(cause=cause), Status.STOP)["Acct-Terminate-Cause"] == named


def test_octets_are_64_bits_in_two_attributes() -> None:
    used = Used(up_octets=(3 << 32) + 5, up_packets=7, down_octets=0xFFFFFFFF, down_packets=(1 << 32) + 1)
    said = told(session(), Status.INTERIM, used, Ns(90 * SECOND))
    assert (said["Acct-Input-Octets"], said["Acct-Input-Gigawords"], said["Acct-Input-Packets"]) == (5, 3, 7)
    assert (said["Acct-Output-Octets"], said["Acct-Output-Gigawords"]) == (0xFFFFFFFF, 0)
    assert said["Acct-Output-Packets"] == 1, "there is no attribute for more than 32 bits of packets"
    assert said["Acct-Session-Time"] == 90


def test_ports_and_tags_have_their_bits() -> None:
    assert nas_port(Line(1, 100, 7)) == 1 << 24 | 100 << 12 | 7
    assert nas_port(Line(255, 4094, 4094)) == 255 << 24 | 4094 << 12 | 4094
    assert nas_port(Line(256)) == 0


def test_what_is_longer_than_an_attribute_is_cut_between_characters() -> None:
    long = replace(session(), client=replace(session().client, line=Line(1, 100, 7, ("ü" * 200).encode())))
    said = told(long, Status.START)
    assert len(said["NAS-Port-Id"].encode()) in (252, 253)
    assert said["NAS-Port-Id"].endswith("ü")
    assert len(said["ADSL-Agent-Circuit-Id"]) == 63


# ---- PPPoE ---------------------------------------------------------------------------------------

LINE_INFO = LineInfo(
    b"slot 1",
    b"door 7",
    {Figure.ACTUAL_UPSTREAM: 10_240, Figure.ACTUAL_DOWNSTREAM: 102_400, Figure.MINIMUM_UPSTREAM: 1},
)


def asked(of: Session, trusted: bool = True, credentials: Credentials | None = None, **caller: Any) -> dict[str, Any]:
    subject = request.subject(of, "bng1", trusted)
    avps = request.access(subject, replace(CALLER, **caller), "1", lambda clear: clear, None, credentials=credentials)
    return {row.name: row.decode(octets) for row, octets in STANDARD.explode(avps)}


def test_a_client_of_ppp_is_called_what_it_says_and_what_its_access_node_says_is_told_in_bit_s() -> None:
    """RFC 4679 3.3.3 and 3.3.4 have bit/s where the access node says kbit/s; RFC 4603 2 has the types of ports."""
    alice = Pap(b"alice@isp.example", b"sesame")
    said = asked(dialing(alice, agent=encode(LINE_INFO)[1]), credentials=alice)
    assert (said["User-Name"], said["User-Password"]) == ("alice@isp.example", b"sesame")
    assert (said["Service-Type"], said["Framed-Protocol"]) == (2, 1)
    assert (said["ADSL-Agent-Circuit-Id"], said["ADSL-Agent-Remote-Id"]) == (b"slot 1", b"door 7")
    assert (said["Actual-Data-Rate-Upstream"], said["Actual-Data-Rate-Downstream"]) == (10_240_000, 102_400_000)
    assert (said["NAS-Port-Id"], said["Calling-Station-Id"]) == ("1:100.7", "02-00-00-00-00-01")
    assert "Framed-Protocol" not in asked(session())


def test_every_figure_of_a_line_is_told_under_its_number_in_rfc_4679() -> None:
    """They have the numbers of TR-101's sub-options; rates are bit/s instead of kbit/s, delays are ms as well."""
    line = LineInfo(figures={figure: 10 + figure for figure in Figure})
    avps = request.access(request.subject(dialing(None, agent=encode(line)[1]), "bng1", True), CALLER, "1", bytes, None)
    vendors = [value[4:] for code, value in avps if code == 26 and value[:4] == (3561).to_bytes(4)]
    told = {value[0]: int.from_bytes(value[2:6]) for value in vendors}
    assert told == {figure: (10 + figure) * (1000 if figure < 0x8B else 1) for figure in Figure}
    assert sorted(told) == [*range(129, 143)]


def test_what_an_untrusted_access_node_says_is_not_told() -> None:
    said = asked(dialing(None, agent=encode(LINE_INFO)[1]), trusted=False)
    assert not {"ADSL-Agent-Circuit-Id", "ADSL-Agent-Remote-Id", "Actual-Data-Rate-Upstream"} & said.keys()
    assert "ADSL-Agent-Circuit-Id" not in asked(dialing(None, agent=b"nonsense"))


def test_a_rate_that_32_bits_do_not_hold_is_the_most_that_they_do() -> None:
    fast = LineInfo(figures={Figure.ACTUAL_DOWNSTREAM: 10_000_000})
    assert asked(dialing(None, agent=encode(fast)[1]))["Actual-Data-Rate-Downstream"] == 0xFFFFFFFF


@pytest.mark.parametrize(
    ("line", "name"), [(Line(1), "PPPoEoE"), (Line(1, 100), "PPPoEoVLAN"), (Line(1, 100, 7), "PPPoEoQinQ")]
)
def test_the_type_of_its_port_is_how_its_frames_come(line: Line, name: str) -> None:
    types = STANDARD["NAS-Port-Type"].values
    assert asked(dialing(None, line=line))["NAS-Port-Type"] == types[name]
    assert asked(session(line=line))["NAS-Port-Type"] == types["Ethernet"]


def test_where_nobody_was_asked_templates_make_the_name() -> None:
    said = asked(dialing(None), username="{mac}/{pppoe-service}")
    assert said["User-Name"] == "02:00:00:00:00:01/internet"
    assert said["User-Password"] == b"02:00:00:00:00:01/internet"


@pytest.mark.parametrize(
    ("user", "stripped", "told"),
    [
        (b"x@isp-b.example", ["isp-b.example"], "x"),
        (b"x@ISP-B.example", ["isp-b.example"], "x"),
        (b"x@y@isp-b.example", ["isp-b.example"], "x@y"),
        (b"x@isp-c.example", ["isp-b.example"], "x@isp-c.example"),
        (b"x@isp-b.example", [], "x@isp-b.example"),
        (b"isp-b.example", ["isp-b.example"], "isp-b.example"),
    ],
)
def test_a_realm_is_taken_off_where_it_is_the_groups(user: bytes, stripped: list[str], told: str) -> None:
    said = Pap(user, b"")
    assert asked(dialing(said), credentials=said, stripped=frozenset(stripped))["User-Name"] == told


def test_accounting_says_the_same_of_it() -> None:
    served = replace(session(subscriber="alice"), link=Link(name="alice"), agent=encode(LINE_INFO)[1])
    said = told(served, Status.START)
    assert (said["User-Name"], said["Framed-Protocol"], said["Acct-Authentic"]) == ("alice", 1, 1)
    assert said["NAS-Port-Type"] == STANDARD["NAS-Port-Type"].values["PPPoEoQinQ"]
    assert said["Actual-Data-Rate-Downstream"] == 102_400_000
