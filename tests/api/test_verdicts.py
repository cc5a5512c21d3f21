"""The rules of `bng diagnose` that the drill cannot bring about, and the order in which they count."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from wayleave.api.facts import RECENT, Facts, PortFacts
from wayleave.api.verdicts import RULES, diagnose
from wayleave.dataplane.abi import DropReason, Outcome, Stage
from wayleave.dataplane.explain import Explanation
from wayleave.dataplane.samples import Drop
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session.journal import Entry
from wayleave.session.model import NEVER, Client, Lease, Line, Phase, Service, Session, Subnet

NOW = BootNs(100_000 * SECOND)
CLIENT = Client(Line(1, 100, 1), Mac(b"\2\0\0\0\0\1"))
NETWORK = IPv4Network("10.0.0.0/24")
LEASE = Lease(NETWORK[9], "p", Subnet(NETWORK, NETWORK[1]), Ns(3600 * SECOND), Ns(3600 * SECOND), BootNs(2 * NOW))
SERVED = Session(
    id=1,
    client=CLIENT,
    phase=Phase.ACTIVE,
    since=BootNs(NOW - 60 * SECOND),
    service=Service(tenant="t", pool="p"),
    lease=LEASE,
)
PORT, UPLINK = PortFacts(1, "acc0", True, True), PortFacts(100, "core0", True, True)


def ago(seconds: int) -> BootNs:
    return BootNs(NOW - seconds * SECOND)


def drop(reason: DropReason, seconds: int) -> Drop:
    return Drop(reason, Stage.ANTISPOOF, True, 1, ago(seconds), ago(seconds), 60, b"\0" * 60)


def way(outcome: Outcome, reason: DropReason | None = None) -> Explanation:
    return Explanation(
        stages=(), outcome=outcome, reason=reason, dhcp4=None, session=1, receiver=None, out=None, packet=b""
    )


def facts(**unlike: Any) -> Facts:
    """Of a client that is served well, but for what is unlike that."""
    well = Facts(
        now=NOW,
        about="it",
        client=CLIENT,
        session=SERVED,
        entries=[Entry(ago(50), "confirmed", "")],
        drops=[],
        subscriber=None,
        port=PORT,
        uplinks=[UPLINK],
        link_fault=None,
        forwarding=True,
        store_failed=None,
        clock_awaited=False,
        pool=None,
        seen=ago(2),
        usage=None,
        destination=IPv4Address("1.1.1.1"),
        small=way(Outcome.TO_NETWORK),
        large=way(Outcome.TO_NETWORK),
        hop=None,
    )
    return replace(well, **unlike)


def verdict(**unlike: Any) -> str:
    return diagnose(facts(**unlike)).name


def test_who_is_served_is_well() -> None:
    assert verdict() == "well"


GONE = {"session": None, "seen": NEVER, "small": None, "large": None}


@pytest.mark.parametrize(
    ("name", "unlike"),
    [
        ("clock-unset", {"clock_awaited": True}),
        ("dropped", {"drops": [drop(DropReason.STALE_KEY, 1)]}),
        ("getting-on", {"session": replace(SERVED, phase=Phase.RECORDING)}),
        ("destination-refused", {"small": way(Outcome.DROPPED, DropReason.LOCAL_SERVICE)}),
        ("idle", {"seen": ago(2 * RECENT // SECOND), "session": replace(SERVED, since=ago(2 * RECENT // SECOND))}),
        ("silent", GONE | {"entries": []}),
        ("silent", GONE | {"entries": [Entry(ago(2 * RECENT // SECOND), "not-authorized", "")]}),
    ],
)
def test_what_the_drill_cannot_bring_about(name: str, unlike: dict[str, Any]) -> None:
    assert verdict(**unlike) == name


def test_what_is_over_does_not_count() -> None:
    spoofed, denied = drop(DropReason.SPOOFED_IPV4, 5), Entry(ago(70), "not-authorized", "")
    assert verdict(drops=[spoofed], seen=ago(10)) == "spoofing"
    assert verdict(drops=[spoofed], seen=ago(4)) == "well", "packets have got through since"
    assert verdict(entries=[denied], session=replace(SERVED, phase=Phase.OFFERED)) == "getting-on", "of before"
    assert verdict(**GONE | {"entries": [denied, Entry(ago(60), "confirmed", "")]}) == "getting-on"
    assert verdict(**GONE | {"entries": [denied]}) == "not-authorized"


def test_of_what_happened_at_one_moment_the_cause_counts() -> None:
    entries = [Entry(ago(5), "not-authorized", "subscriber x is blocked"), Entry(ago(5), "refused", "blocked")]
    assert verdict(**GONE | {"entries": entries}) == "blocked"


def test_the_root_counts_before_the_leaves() -> None:
    """A cable that is out explains all the rest."""
    everything = {
        "port": replace(PORT, up=False),
        "forwarding": False,
        "drops": [drop(DropReason.SPOOFED_IPV4, 0)],
        "small": way(Outcome.DROPPED, DropReason.NO_ROUTE),
    }
    assert verdict(**everything) == "port-down"
    assert verdict(**everything | {"port": replace(PORT, held=False, up=False)}) == "port-gone"


def test_every_verdict_says_what_to_do_and_no_two_are_called_alike() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.means.endswith(".") and rule.cure for rule in RULES)
    assert diagnose(facts()).cure == RULES[-1].cure
