"""The rules of `bng diagnose` that the drill cannot bring about, and the order in which they count."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from shutil import which
from typing import Any, get_args

import pytest
from cyclopts import CycloptsError
from msgspec.structs import replace
from pydantic import BaseModel

from wayleave.aaa.local import Subscriber
from wayleave.api.facts import LATELY, RECENT, Facts, Heard, PortFacts
from wayleave.api.nexus import NexusView
from wayleave.api.rules.outward import UNANSWERED
from wayleave.api.rules.rule import Rule
from wayleave.api.schema import PoolView
from wayleave.api.verdicts import RULES, Diagnosis, diagnose
from wayleave.cli.bng import app
from wayleave.config.schema import Configuration, SubscribersFile
from wayleave.dataplane.abi import DropReason, Outcome, Stage
from wayleave.dataplane.counters import Asking, Usage
from wayleave.dataplane.explain import Explanation
from wayleave.dataplane.samples import Drop
from wayleave.io.routes import NextHop
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.dhcp4.options import BY_NAME
from wayleave.session.journal import Entry
from wayleave.session.model import NEVER, Client, Lease, Line, Phase, Rate, Service, Session, Subnet
from wayleave.session.refusal import Reason
from wayleave.session.settings import Reservation

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
PORT, UPLINK = PortFacts(1, "acc0", True, True, True), PortFacts(100, "core0", True, True, True)
HOP = NextHop("core0", IPv4Address("192.0.2.1"), "reachable", 1500)


def ago(seconds: int) -> BootNs:
    return BootNs(NOW - seconds * SECOND)


def drop(reason: DropReason, seconds: int, upstream: bool = True) -> Drop:
    return Drop(reason, Stage.ANTISPOOF, upstream, 1, ago(seconds), ago(seconds), 60, b"\0" * 60)


def way(outcome: Outcome, reason: DropReason | None = None) -> Explanation:
    return Explanation(
        stages=(), outcome=outcome, reason=reason, dhcp4=None, session=1, receiver=None, out=None, packet=b""
    )


def facts(**unlike: Any) -> Facts:
    """Of a client that is served well, but for what is unlike that."""
    well = Facts(
        now=NOW,
        started=BootNs(0),
        about="it",
        who=str(CLIENT.mac),
        client=CLIENT,
        session=SERVED,
        entries=[Entry(ago(50), "confirmed", "")],
        drops=[],
        elsewhere=None,
        subscriber=None,
        reservation=None,
        port=PORT,
        uplinks=[UPLINK],
        link_fault=None,
        forwarding=True,
        store_failed=None,
        clock_awaited=False,
        pool=None,
        nexus=None,
        seen=ago(2),
        usage=None,
        asking=Asking(),
        destination=IPv4Address("1.1.1.1"),
        small=way(Outcome.TO_NETWORK),
        large=way(Outcome.TO_NETWORK),
        hop=HOP,
        table=254,
        servers=[],
    )
    return replace(well, **unlike)


def found(**unlike: Any) -> Diagnosis:
    return diagnose(facts(**unlike))


def verdict(**unlike: Any) -> str:
    return found(**unlike).name


def test_who_is_served_is_well() -> None:
    assert verdict() == "well"


GONE = {"session": None, "seen": NEVER, "small": None, "large": None}


@pytest.mark.parametrize(
    ("name", "unlike"),
    [
        ("clock-unset", {"clock_awaited": True}),
        ("port-gone", {"port": replace(PORT, held=False)}),
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


def test_silence_reaches_back_to_the_start_of_the_gateway_and_no_further() -> None:
    nothing = GONE | {"entries": []}
    assert found(**nothing).says == "nothing was heard of it in the last 15 minutes"
    assert found(**nothing | {"started": ago(6)}).says == "nothing was heard of it since the gateway started, 6s ago"
    long_ago = RECENT // SECOND
    assert found(**nothing | {"started": ago(long_ago)}).says == "nothing was heard of it in the last 15 minutes"


def test_what_is_over_does_not_count() -> None:
    spoofed, denied = drop(DropReason.SPOOFED_IPV4, 5), Entry(ago(70), "not-authorized", "")
    assert verdict(drops=[spoofed], seen=ago(10)) == "spoofing"
    assert verdict(drops=[spoofed], seen=ago(4)) == "well", "packets have got through since"
    assert verdict(entries=[denied], session=replace(SERVED, phase=Phase.OFFERED)) == "getting-on", "of before"
    assert verdict(**GONE | {"entries": [denied, Entry(ago(60), "confirmed", "")]}) == "getting-on"
    assert verdict(**GONE | {"entries": [denied]}) == "not-authorized"


@pytest.mark.parametrize("reason", [DropReason.NO_SESSION, DropReason.PROMISE_PAST, DropReason.SPOOFED_IPV4])
def test_what_was_dropped_before_it_was_served_is_over(reason: DropReason) -> None:
    """Though no packet of it was let through yet: it has only just got its address."""
    assert verdict(drops=[drop(reason, 70)], seen=NEVER) == "well", "before the session"
    assert verdict(drops=[drop(reason, 55)], seen=NEVER) == "well", "while it asked"
    assert verdict(drops=[drop(reason, 45)], seen=NEVER) != "well"


def test_of_what_happened_at_one_moment_the_cause_counts() -> None:
    entries = [Entry(ago(5), "not-authorized", "x", Reason.BLOCKED), Entry(ago(5), "refused", "x", Reason.TABLE_FULL)]
    assert verdict(**GONE | {"entries": entries}) == "blocked"


# ---- refused, ended ----------------------------------------------------------------------------

BY_REASON = {
    Reason.PORT_NOT_CONFIGURED: "not-authorized",
    Reason.UNKNOWN_CLIENT: "not-authorized",
    Reason.BLOCKED: "blocked",
    Reason.WRONG_PASSWORD: "wrong-password",
    Reason.NO_POOL: "not-authorized",
    Reason.LINE_FULL: "line-full",
    Reason.TABLE_FULL: "table-full",
    Reason.POOL_EMPTY: "pool-empty",
    Reason.NO_BLOCK: "no-block",
    Reason.ENTRY_UNUSABLE: "entry-unusable",
    Reason.ADDRESS_NOT_FREE: "address-refused",
    Reason.ADDRESS_NOT_ITS_OWN: "address-refused",
    Reason.STORE_FAILED: "store-failed",
    Reason.NO_USERNAME: "no-username",
    Reason.CREDENTIALS_UNUSABLE: "credentials-unusable",
    Reason.RADIUS_DECIDES: "radius-decides",
    Reason.RADIUS_REJECTED: "radius-rejected",
    Reason.RADIUS_CHALLENGED: "radius-rejected",
    Reason.RADIUS_UNUSABLE: "radius-unusable",
    Reason.RADIUS_UNREACHABLE: "radius-unreachable",
    Reason.RADIUS_UNSIGNED: "radius-unsigned",
    Reason.RADIUS_DOUBTED: "radius-doubted",
    Reason.RADIUS_BUSY: "radius-busy",
    Reason.SUBSCRIBER_FULL: "subscriber-full",
    Reason.PORT_FULL: "port-full",
    Reason.NO_AGREEMENT: "no-agreement",
    Reason.MAC_ON_ANOTHER_CIRCUIT: "other-circuit",
    Reason.ASKED_AGAIN_MEANWHILE: "bad-dhcp",
    Reason.DECLINES_TOO_OFTEN: "bad-dhcp",
    Reason.OTHER_TENANT: "ended",
}
KIND = {
    Reason.TABLE_FULL: "not-installed",
    Reason.POOL_EMPTY: "no-address",
    Reason.NO_BLOCK: "no-address",
    Reason.ADDRESS_NOT_FREE: "no-address",
    Reason.ADDRESS_NOT_ITS_OWN: "refused",
    Reason.STORE_FAILED: "not-recorded",
    Reason.PORT_FULL: "ignored",
    Reason.NO_AGREEMENT: "ignored",
    Reason.MAC_ON_ANOTHER_CIRCUIT: "ignored",
    Reason.ASKED_AGAIN_MEANWHILE: "ignored",
    Reason.DECLINES_TOO_OFTEN: "ignored",
    Reason.OTHER_TENANT: "ending",
}


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason])
def test_a_refusal_is_known_by_its_reason_whatever_its_words(reason: Reason) -> None:
    entry = Entry(ago(5), KIND.get(reason, "not-authorized"), "is full of what is blocked", reason)
    failed = "disk full" if reason is Reason.STORE_FAILED else None
    assert verdict(**GONE | {"entries": [entry], "store_failed": failed}) == BY_REASON[reason]


HOURS = 3 * 3600


def ended(seconds: int, reason: Reason = Reason.NONE) -> dict[str, Any]:
    return GONE | {"entries": [Entry(ago(seconds), "ending", "reconfigured: it is so", reason)]}


def test_who_was_ended_because_it_is_blocked_by_now_is_blocked() -> None:
    told = found(**ended(5, Reason.BLOCKED))
    assert (told.name, told.says) == ("blocked", "blocked by configuration: reconfigured: it is so")
    bob = Subscriber(name="bob", mac=CLIENT.mac, blocked=True)
    assert verdict(**ended(HOURS, Reason.BLOCKED) | {"subscriber": bob}) == "blocked", "it never asked again"
    assert verdict(**GONE | {"entries": [], "subscriber": bob}) == "blocked", "it never asked at all"
    assert verdict(subscriber=bob) == "well", "it is served: no reload has counted this yet"


def test_who_sends_on_long_after_its_session_ended_was_ended() -> None:
    sends = {"drops": [drop(DropReason.NO_SESSION, 1)]}
    assert verdict(**ended(HOURS) | sends) == "ended"
    assert verdict(**ended(HOURS)) == "silent"
    assert verdict(**ended(5)) == "ended"
    assert verdict(**GONE | {"entries": []} | sends) == "no-dhcp"


# ---- who dials ---------------------------------------------------------------------------------


def test_a_session_that_came_to_no_address_is_one_without_agreement() -> None:
    hung_up, ending = Entry(ago(5), "hung-up", "no-network"), Entry(ago(5), "ending", "not-negotiated")
    told = found(**GONE | {"entries": [Entry(ago(9), "admitted", ""), hung_up, ending]})
    assert (told.name, told.says) == ("no-agreement", "its session came to nothing: no-network")
    assert verdict(**GONE | {"entries": [hung_up, replace(ending, says="user-request")]}) == "ended"


def test_that_an_old_session_is_over_is_told_and_is_no_news() -> None:
    ending, told_so = Entry(ago(9), "ending", "admin-reset"), Entry(ago(5), "ignored", "unknown-pppoe-session")
    assert verdict(**GONE | {"entries": [ending, told_so]}) == "ended"
    assert verdict(**GONE | {"entries": [told_so]}) == "getting-on"


def test_what_nobody_here_speaks_hides_nothing_that_is_wrong() -> None:
    """A customer whose own machines send IPv6 beside what it dials with."""
    drops = [drop(DropReason.PPPOE_NOT_SERVED, 5), drop(DropReason.ETHERTYPE, 1)]
    assert verdict(**GONE | {"entries": [], "drops": drops}) == "pppoe-not-served"
    assert verdict(drops=drops, seen=ago(9)) == "well", "it has an address by DHCP"


# ---- what stands beside the verdict ------------------------------------------------------------


def test_who_is_known_on_another_line_is_told_of_it_also_if_it_is_served() -> None:
    there = Line(1, 100, 2)
    carol = Subscriber(name="carol", mac=CLIENT.mac, line=there)
    kept = Reservation(address=NETWORK[7], mac=CLIENT.mac, line=there)
    told = found(subscriber=carol, reservation=kept)
    assert told.name == "well"
    assert told.notes == [
        "it is heard on line 1:100.1; the subscribers file has carol on 1:100.2",
        "it is heard on line 1:100.1; 10.0.0.7 is reserved for it on 1:100.2",
    ]
    told = found(**GONE | {"subscriber": carol, "entries": [Entry(ago(5), "not-authorized", "")]})
    assert (told.name, told.notes) == ("wrong-line", []), "said once"
    here = {"subscriber": carol.model_copy(update={"line": CLIENT.line}), "reservation": None}
    assert found(**here).notes == []
    assert found(reservation=Reservation(address=NETWORK[7], mac=CLIENT.mac)).notes == []


def heard(seconds: int) -> Heard:
    return Heard(Client(Line(1, 100, 9), CLIENT.mac), ago(seconds), "not-authorized DISCOVER: nobody knows it")


THERE = "it was heard on line 1:100.9 5 s ago (not-authorized DISCOVER: nobody knows it), "


def test_who_left_the_line_of_its_session_is_on_the_wrong_one() -> None:
    """It has no service, whatever the session says that still stands."""
    told = found(elsewhere=heard(5), seen=ago(6), entries=[Entry(ago(50), "confirmed", "")])
    assert (told.name, told.notes) == ("wrong-line", [])
    assert told.says == THERE + "and since then not on 1:100.1, where its session is"
    changed = [Entry(ago(50), "confirmed", ""), Entry(ago(1), "changed", "gold")]
    assert verdict(elsewhere=heard(5), seen=ago(6), entries=changed) == "wrong-line", "it has not said that"


@pytest.mark.parametrize(
    "since",
    [{"seen": ago(4)}, {"entries": [Entry(ago(4), "renewed", "")]}, {"drops": [drop(DropReason.MULTICAST, 4)]}],
)
def test_who_is_heard_on_its_own_line_since_is_told_of_the_other(since: dict[str, Any]) -> None:
    told = found(**{"elsewhere": heard(5), "seen": ago(6)} | since)
    assert (told.name, told.notes) == ("well", [THERE + "as well as on 1:100.1, where its session is"])


def test_what_was_heard_elsewhere_long_ago_is_over() -> None:
    told = found(elsewhere=heard(RECENT // SECOND + 1), seen=NEVER, entries=[])
    assert (told.name, told.notes) == ("well", [])


UP, DOWN = DropReason.METERED_UP, DropReason.METERED_DOWN
GOLD = replace(SERVED, service=Service(tenant="t", pool="p", name="gold", up=Rate.of(20_000_000)))


def test_who_uses_all_of_its_rate_is_well_otherwise_and_told_of_it() -> None:
    told = found(session=GOLD, drops=[drop(UP, 3)])
    assert told.name == "over-rate"
    assert told.says == "it sends more than the 20 Mbit/s of its service gold; what was too much 3 s ago was dropped"
    assert found(session=GOLD, drops=[drop(DOWN, 3, False)]).says.startswith(
        "it is sent more than its service allowed;"
    )
    assert found(session=GOLD, drops=[drop(DOWN, 3)]).says.startswith("it sends another client more than that one's")
    assert verdict(session=GOLD, drops=[drop(UP, LATELY // SECOND + 1)]) == "well", "anybody is there now and then"
    assert verdict(small=way(Outcome.DROPPED, UP), large=way(Outcome.DROPPED, UP)) == "over-rate", "and not refused"
    assert verdict(large=way(Outcome.DROPPED, UP)) == "well", "and no MTU"


def test_a_rate_hides_nothing_that_is_wrong() -> None:
    drops = [drop(UP, 1), drop(DropReason.SPOOFED_IPV4, 2), drop(UP, 0)]
    told = found(session=GOLD, drops=drops, seen=ago(5))
    assert told.name == "spoofing"
    assert told.notes == ["it sends more than the 20 Mbit/s of its service gold; what was too much 0 s ago was dropped"]


# ---- nothing comes back ------------------------------------------------------------------------


def test_who_once_was_answered_and_no_longer_is_may_have_no_way_back() -> None:
    served = Usage(up_packets=500, down_packets=400)
    told = found(usage=served, asking=Asking(ago(2), 400, UNANSWERED))
    assert told.name == "no-return"
    assert "2 s ago" in told.says
    assert "or nobody answers" in told.means, "log messages, say"
    assert verdict(usage=served, asking=Asking(ago(2), 400, UNANSWERED - 1)) == "well"
    assert verdict(usage=served, asking=Asking(ago(RECENT // SECOND + 5), 400, 50)) == "well", "that was long ago"
    assert verdict(usage=Usage(up_packets=3)) == "no-return", "never"


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
    told = found(**everything | {"port": replace(PORT, enabled=False, up=False)})
    assert (told.name, told.cure) == ("port-disabled", "`ip link set dev acc0 up`")


def test_each_network_port_is_told_with_what_is_wrong_with_it() -> None:
    three = [replace(UPLINK, up=False), PortFacts(101, "core1", True, False, False), PortFacts(102, "c2", False, 0, 0)]
    told = found(uplinks=three)
    assert told.says == (
        "port 100 (core0) has no carrier; port 101 (core1) is administratively down; "
        "port 102 (c2) is gone or has lost its program"
    )


def test_every_verdict_says_what_to_do_and_no_two_are_called_alike() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.means.endswith(".") and rule.cure for rule in RULES)


# ---- what to do --------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]


def keys(model: type[BaseModel]) -> Iterator[str]:
    """The keys of a configuration, dotted, with its sections."""
    for name, info in model.model_fields.items():
        yield name
        inner = next((t for t in (info.annotation, *get_args(info.annotation)) if isinstance(t, type)), None)
        if inner is not None and issubclass(inner, BaseModel):
            yield from (f"{name}.{key}" for key in keys(inner))


KEYS = {*keys(Configuration), *keys(SubscribersFile), *(f'pools.options."{name}"' for name in BY_NAME)}


def exists(words: str) -> bool:
    """Whether what a cure has in backticks is a command, a file or a key that there is."""
    first, *rest = shlex.split(words)
    if first == "bng":
        try:
            app.parse_args(rest, exit_on_error=False, print_error=False)
        except CycloptsError:
            return False
        return bool(rest)
    return words in KEYS or (ROOT / words).is_file() or (bool(rest) and which(first) is not None)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_cure_names_what_is_there(rule: Rule) -> None:
    cure = rule.cure_for(facts())
    assert not re.search(r"[{}]|None|``", cure)
    for words in re.findall(r"`([^`]*)`", cure):
        assert not re.search(r"\b[A-Z]{1,}\b", words), f"a placeholder in {words}"
        assert exists(words), words


def test_what_is_not_there_is_found_out() -> None:
    assert exists("bng show pools")
    assert not exists("bng show lakes")
    assert not exists("bng show pools --wet")
    assert not exists("pools.mtu")
    assert not exists("ipp link")


# ---- shared pools --------------------------------------------------------------------------------

SHARED = PoolView(
    name="p", tenant="t", network="10.0.0.0/24", gateway="10.0.0.1", size=8, held=8, quarantined=0, nexus="shared"
)


def nexus(why: str = "", hold_s: int = 7200, faults: list[str] | None = None) -> NexusView:
    return NexusView(
        server="https://nexus:7443", why=why, since_s=600, epoch=1, hold_s=hold_s, waiting=0, shares=[],
        faults=faults or [], out_of_place={},
    )  # fmt: skip


def test_who_is_well_during_a_partition_is_told_of_it_beside() -> None:
    (note,) = found(pool=SHARED, nexus=nexus("nobody answers")).notes
    assert note == "Nexus has not answered for 10m (nobody answers); its blocks last 2h"
    (note,) = found(pool=SHARED, nexus=nexus("nobody answers", hold_s=0)).notes
    assert note.endswith("its blocks are over")
    assert found(pool=SHARED, nexus=nexus()).notes == []
    own = SHARED.model_copy(update={"nexus": None})
    assert found(pool=own, nexus=nexus("nobody answers")).notes == [], "its pool is not shared"


def test_a_shared_pool_without_an_address_left_says_why_nexus_leases_no_more() -> None:
    entries = [Entry(ago(5), "no-address", "used up", Reason.POOL_EMPTY)]
    told = found(**GONE | {"entries": entries, "pool": SHARED, "nexus": nexus(faults=["Nexus leases nothing more"])})
    assert told.name == "shared-pool-empty"
    assert told.says == "pool p: 8 of 8 addresses are held; Nexus leases nothing more"
    own = SHARED.model_copy(update={"nexus": None})
    assert verdict(**GONE | {"entries": entries, "pool": own}) == "pool-empty"
