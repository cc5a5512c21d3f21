"""Pools: who gets which address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from wayleave.net.units import SECOND, BootNs
from wayleave.session.model import Subnet
from wayleave.session.pool import Exhaustion, Pool

NOW = BootNs(1_000 * SECOND)
NETWORK = IPv4Network("10.0.0.0/29")


def pool(**kwargs: frozenset[IPv4Address]) -> Pool:
    return Pool("small", Subnet(NETWORK, NETWORK[1]), **kwargs)


def take_all(small: Pool, who: str = "client") -> list[IPv4Address]:
    found = []
    while True:
        try:
            found.append(small.allocate(f"{who}-{len(found)}", None, NOW))
        except Exhaustion:
            return found


def test_it_is_used_to_the_last_address_and_no_further() -> None:
    small = pool()
    found = take_all(small)
    assert found == [NETWORK[2], NETWORK[3], NETWORK[4], NETWORK[5], NETWORK[6]]
    assert (small.held, small.size) == (5, 5)
    small.free(NETWORK[4])
    assert small.allocate("late", None, NOW) == NETWORK[4]
    with pytest.raises(Exhaustion, match="used up: 5 of 5"):
        small.allocate("too late", None, NOW)


def test_a_client_gets_back_what_it_had_and_others_get_something_else_first() -> None:
    small = pool()
    mine = small.allocate("me", None, NOW)
    small.free(mine)
    assert small.allocate("other", None, NOW) != mine
    assert small.allocate("me", None, NOW) == mine


def test_what_a_client_had_is_given_away_only_when_nothing_else_is_left() -> None:
    small = pool()
    mine = small.allocate("me", None, NOW)
    small.free(mine)
    assert take_all(small, "other")[-1] == mine
    with pytest.raises(Exhaustion):
        small.allocate("me", None, NOW)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (NETWORK[1], "gateway"),
        (NETWORK[0], "outside"),
        (NETWORK[7], "outside"),
        (IPv4Address("10.0.1.1"), "outside"),
        (NETWORK[2], "held by another"),
        (NETWORK[3], "excluded"),
        (NETWORK[4], "reserved"),
        (NETWORK[5], "rests"),
    ],
)
def test_a_particular_address_is_refused_with_the_reason(wanted: IPv4Address, why: str) -> None:
    small = pool(excluded=frozenset([NETWORK[3]]), reserved=frozenset([NETWORK[4]]))
    small.allocate("other", NETWORK[2], NOW, exact=True)
    small.allocate("declined", NETWORK[5], NOW, exact=True)
    small.free(NETWORK[5], quarantine_until=BootNs(NOW + 1))
    with pytest.raises(Exhaustion, match=why):
        small.allocate("me", wanted, NOW, exact=True)
    assert small.allocate("me", wanted, NOW) == NETWORK[6], "as a mere wish it is passed over"


def test_excluded_and_reserved_addresses_are_given_as_static_ones_only() -> None:
    small = pool(excluded=frozenset([NETWORK[3]]), reserved=frozenset([NETWORK[4]]))
    assert take_all(small) == [NETWORK[2], NETWORK[5], NETWORK[6]]
    assert small.allocate("a", NETWORK[3], NOW, static=True) == NETWORK[3]
    assert small.allocate("b", NETWORK[4], NOW, static=True) == NETWORK[4]
    with pytest.raises(Exhaustion, match="held by another"):
        small.allocate("c", NETWORK[4], NOW, static=True)


def test_a_declined_address_rests_and_then_comes_back() -> None:
    small = pool()
    found = take_all(small)
    until = BootNs(NOW + 600 * SECOND)
    small.free(found[0], quarantine_until=until)
    assert small.quarantined == 1
    with pytest.raises(Exhaustion):
        small.allocate("late", None, BootNs(until - 1))
    assert small.allocate("late", None, until) == found[0]
    assert small.quarantined == 0


def test_what_the_disk_says_is_held_and_not_given_twice() -> None:
    small = pool()
    small.hold(NETWORK[2], "restored")
    with pytest.raises(Exhaustion, match="held by restored"):
        small.hold(NETWORK[2], "other")
    assert NETWORK[2] not in take_all(small)


def test_who_comes_back_is_known_by_what_lasts_and_holds_by_what_does_not() -> None:
    small = pool()
    first = small.allocate("call 1", None, NOW, known_as="alice")
    second = small.allocate("call 2", None, NOW, known_as="alice")
    assert first != second, "two at once never share"
    with pytest.raises(Exhaustion, match="is held by another client"):
        small.allocate("call 3", first, NOW, static=True, known_as="alice")
    small.free(first)
    assert small.allocate("call 4", None, NOW, known_as="bob") not in (first, second)
    assert small.allocate("call 5", None, NOW, known_as="alice") == first
    assert small.holder(first) == "call 5"


def test_what_is_taken_up_is_known_as_it_was() -> None:
    small = pool()
    small.hold(NETWORK[4], "call 1", "alice")
    with pytest.raises(Exhaustion, match="held by call 1"):
        small.hold(NETWORK[4], "call 2", "alice")
    larger = Pool("larger", Subnet(IPv4Network("10.0.0.0/28"), NETWORK[1]))
    larger.take_over(small)
    for known in (small, larger):
        known.free(NETWORK[4])
        assert known.allocate("call 3", None, NOW, known_as="alice") == NETWORK[4]


class Holders(RuleBasedStateMachine):
    """Clients come and go in any order: no address has two holders, none is lost, none outside is given."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pool()
        self.mine: dict[str, IPv4Address] = {}
        self.now = NOW
        self.count = 0

    clients = Bundle("clients")

    @rule(
        target=clients,
        wanted=st.none() | st.sampled_from(list(NETWORK)),
        exact=st.booleans(),
        known_as=st.none() | st.sampled_from(["alice", "bob"]),
    )
    def allocate(self, wanted: IPv4Address | None, exact: bool, known_as: str | None) -> str:
        self.count += 1
        name = f"client-{self.count}"
        try:
            exactly = exact and wanted is not None
            address = self.pool.allocate(name, wanted, self.now, exact=exactly, known_as=known_as)
        except Exhaustion:
            if not (exact and wanted is not None):
                assert self.pool.held + self.pool.quarantined == self.pool.size
            return name
        assert address not in self.mine.values()
        assert NETWORK[1] < address < NETWORK[7]
        self.mine[name] = address
        return name

    @rule(client=consumes(clients), quarantine=st.booleans())
    def free(self, client: str, quarantine: bool) -> None:
        address = self.mine.pop(client, None)
        if address is not None:
            self.pool.free(address, BootNs(self.now + 10 * SECOND) if quarantine else None)

    @rule(seconds=st.integers(0, 20))
    def wait(self, seconds: int) -> None:
        self.now = BootNs(self.now + seconds * SECOND)

    @invariant()
    def counts_agree(self) -> None:
        assert self.pool.held == len(self.mine)


TestHolders = Holders.TestCase
