"""What a server is told: names and numbers that the standards give, and values that always fit."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.aaa.clients import CALLER, session
from wayleave.aaa import request
from wayleave.aaa.request import TERMINATED, Status, nas_port
from wayleave.net.units import SECOND, Ns
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.session.model import CloseCause, Line, Session, Used

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
