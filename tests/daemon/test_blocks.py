"""Blocks of Nexus at a gateway: when they count, when they end, and what becomes of who lives there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.daemon.shared_world import GRACE, HOLD, LEASE, POOL, Nexus, Site, site
from wayleave.daemon.blocks import bounds
from wayleave.daemon.derived import terms_of
from wayleave.daemon.nexus import StillLeased
from wayleave.net.units import SECOND
from wayleave.proto.nexus.messages import Block, Claim, Claimed, GiveBack, Held, Renew
from wayleave.session import lifecycle as life
from wayleave.session.model import IN_FLIGHT, Phase
from wayleave.session.refusal import Reason


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


def seconds(gateway: Site, length: int, *others: Site) -> None:
    """Let time pass everywhere; who is not cut off talks to Nexus."""
    for _ in range(length // SECOND):
        gateway.nexus.second()
        for one in (gateway, *others):
            one.second()
            one.talk()


def test_two_gateways_have_other_blocks_of_one_pool_and_their_clients_other_addresses() -> None:
    nexus = Nexus()
    a, b = site("a", nexus), site("b", nexus, start=5000)
    mine, other = {a.arrive(number) for number in range(1, 5)}, {b.arrive(number) for number in range(1, 5)}
    assert None not in mine | other
    assert not mine & other
    ranges = [bounds(block) for block in a.blocks.of("shared")]
    assert all(any(first <= address <= last for first, last in ranges) for address in mine if address)


def test_a_block_counts_once_it_is_on_the_disk() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    gateway.reboot(empty=True)
    gateway.disk.failing = True
    gateway.talk()
    assert gateway.blocks.holder.blocks == {}
    assert gateway.blocks.holder.epoch == 2, "Nexus has answered"
    assert gateway.blocks.until == 0, "nothing of that is on the disk"
    assert gateway.arrive(1) is None
    assert gateway.engine.counts.refused == {Reason.NO_BLOCK.spoken: 1}
    gateway.disk.failing = False
    gateway.talk()
    gateway.talk()
    assert gateway.arrive(1) is not None


def test_it_asks_for_more_before_what_it_has_is_used_up_and_gives_back_what_stays_idle() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    assert len(gateway.blocks.of("shared")) == 1
    for number in range(1, 20):
        assert gateway.arrive(number) is not None, f"client {number} has no address"
        seconds(gateway, SECOND)
    most = len(gateway.blocks.of("shared"))
    assert most >= 4
    for number in range(1, 20):
        gateway.release(number)
    seconds(gateway, 4 * 3600 * SECOND)
    left = len(gateway.blocks.of("shared"))
    assert left <= 2, "of the first block two addresses are of no use, and half a block is in hand"
    owned = [key for key in nexus.store.entries if key.startswith("held/")]
    assert len(owned) == left, "Nexus has the others back"


def test_a_block_where_somebody_lives_is_not_given_back() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    addresses = [gateway.arrive(number) or seconds(gateway, SECOND) for number in range(1, 17)]
    stays = gateway.arrive(17)
    assert stays is not None
    for number in range(1, 17):
        gateway.release(number)
    for _ in range(60):
        seconds(gateway, 60 * SECOND)
        assert gateway.renew(17)
    assert gateway.uses(17, stays), addresses


def test_cut_off_it_goes_on_admitting_and_renewing_up_to_the_end_of_its_hold_and_not_past_it() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    mine = gateway.arrive(1)
    assert mine is not None
    gateway.cut = True
    left = gateway.blocks.until - gateway.clock.now
    assert left > HOLD - 10 * SECOND
    while gateway.blocks.until - gateway.clock.now > LEASE:
        seconds(gateway, 20 * SECOND)
        assert gateway.renew(1)
    late = gateway.arrive(2)
    assert late is not None, "a newcomer gets on without Nexus"
    assert gateway.told[gateway.client(2)].until <= gateway.blocks.until, "and is told of no more than is certain"
    while gateway.blocks.until - gateway.clock.now > SECOND:
        assert gateway.renew(1)
        assert gateway.uses(1, mine)
        seconds(gateway, SECOND)
    seconds(gateway, SECOND)
    assert not gateway.uses(1, mine), "the data plane forwards no more, whatever the process does"
    assert not gateway.renew(1)
    assert gateway.arrive(3) is None
    seconds(gateway, 10 * SECOND)
    assert gateway.find(1) is None


def test_back_in_time_it_goes_on_as_if_nothing_had_been() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    mine = gateway.arrive(1)
    assert mine is not None
    gateway.cut = True
    for _ in range(5):
        seconds(gateway, 60 * SECOND)
        assert gateway.renew(1)
    gateway.cut = False
    for _ in range(30):
        seconds(gateway, 60 * SECOND)
        assert gateway.renew(1)
    assert gateway.uses(1, mine)
    assert gateway.engine.counts.closed == {}


def test_who_comes_back_too_late_is_fenced_and_nobody_lives_on_what_another_has_by_then() -> None:
    nexus = Nexus()
    a, b = site("a", nexus), site("b", nexus)
    mine = a.arrive(1)
    a.cut = True
    for _ in range(2 * (HOLD + GRACE) // (10 * SECOND)):
        seconds(a, 10 * SECOND, b)
    taken = {b.arrive(number) or seconds(b, SECOND) for number in range(1, 60)}
    assert mine in taken, "the other gateway has the block by now"
    assert mine not in a.served()
    a.cut = False
    seconds(a, 70 * SECOND, b)
    assert a.blocks.holder.epoch == 2
    assert a.renew(1) is False


def test_a_restart_goes_on_at_once_and_without_nexus() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    mine = gateway.arrive(1)
    assert mine is not None
    gateway.cut = True
    gateway.kill()
    assert gateway.uses(1, mine)
    assert gateway.renew(1)
    assert gateway.arrive(2) is not None


def test_after_a_reboot_nobody_is_served_before_nexus_has_confirmed_the_hold() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    mine = gateway.arrive(1)
    assert mine is not None
    gateway.cut = True
    gateway.reboot()
    seconds(gateway, 5 * SECOND)
    assert not gateway.uses(1, mine), "nobody knows how long it was away"
    assert gateway.renew(1) is False
    assert gateway.arrive(2) is None
    assert gateway.find(1) is not None, "its address is still its own"
    gateway.cut = False
    seconds(gateway, 61 * SECOND)
    assert gateway.uses(1, mine)
    assert gateway.renew(1)


def test_after_a_reboot_that_took_too_long_what_was_on_the_blocks_ends() -> None:
    nexus = Nexus()
    a, b = site("a", nexus), site("b", nexus)
    mine = a.arrive(1)
    for _ in range(2 * (HOLD + GRACE) // (10 * SECOND)):
        seconds(b, 10 * SECOND)
    assert mine in {b.arrive(number) or seconds(b, SECOND) for number in range(1, 60)}
    a.reboot(off=2 * (HOLD + GRACE))
    assert mine not in a.served()
    seconds(a, 2 * SECOND, b)
    seconds(a, IN_FLIGHT + SECOND, b)
    assert a.find(1) is None
    assert a.engine.counts.closed == {"block-lost": 1}


def test_a_reload_keeps_the_blocks() -> None:
    gateway = site("a", Nexus())
    mine = gateway.arrive(1)
    assert mine is not None
    pools = gateway.blocks.equip([POOL], {"home": terms_of(POOL, ())})
    gateway.engine.reconfigure(pools, gateway.engine._authorization, gateway.engine._admission)
    while gateway.engine.review(gateway.clock.boot()):
        gateway.written()
    assert gateway.uses(1, mine)
    assert gateway.arrive(2) not in (None, mine)


def test_what_is_given_back_is_off_the_disk_before_nexus_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    for number in range(1, 25):
        assert gateway.arrive(number) is not None
        seconds(gateway, SECOND)
    for number in range(1, 25):
        gateway.release(number)
    answer, returned = nexus.answer, []

    def listens(node: str, request: Renew | Claim | GiveBack) -> Held | Claimed | None:
        if isinstance(request, GiveBack):
            assert gateway.disk.stood is not None
            kept, _ = gateway.disk.stood
            assert (request.pool, request.index) not in {block.key for block in kept.blocks}
            returned.append(request.index)
        return answer(node, request)

    monkeypatch.setattr(nexus, "answer", listens)
    seconds(gateway, 2 * 3600 * SECOND)
    assert returned


def test_a_block_of_another_pool_than_is_meant_here_is_of_no_use_and_that_is_said() -> None:
    gateway = site("a", Nexus())
    strange = [Block("shared", 9, "192.0.2.0", "192.0.2.7", 1), Block("shared", 10, "2001:db8::/56", "x", 1)]
    gateway.clock.wait(HOLD // 2)
    assert gateway.blocks.request(gateway.clock.boot()) == Renew(1)
    own = list(gateway.blocks.holder.blocks.values())
    gateway.blocks.receive(Held(1, 1, HOLD, (*own, *strange)), gateway.clock.boot())
    gateway.written()
    assert gateway.blocks.shares["shared"].strange.startswith("2001:db8::/56-x of shared is not in 10.0.0.0/26")
    assert gateway.arrive(1) is not None, "what is of use is used"


def test_a_disk_that_refuses_keeps_what_is_believed_as_it_was() -> None:
    gateway = site("a", Nexus())
    gateway.disk.failing = True
    before = gateway.blocks.until
    for _ in range(HOLD // SECOND):
        seconds(gateway, SECOND)
    assert gateway.blocks.until == before, "what the disk does not have is not believed"
    gateway.disk.failing = False
    seconds(gateway, 2 * SECOND)
    assert gateway.blocks.until > before


def test_a_pool_that_is_shared_no_more_has_its_blocks_given_back() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    assert gateway.blocks.of("shared")
    gateway.blocks.equip([], {})
    seconds(gateway, 3 * SECOND)
    assert gateway.blocks.of("shared") == []
    assert not [key for key in nexus.store.entries if key.startswith("held/")]


def test_what_is_granted_anew_while_the_hold_is_unknown_leaves_the_promise_on_the_disk() -> None:
    gateway = site("a", Nexus())
    mine = gateway.arrive(1)
    gateway.cut = True
    gateway.reboot()
    session = gateway.find(1)
    assert session is not None
    assert session.service is not None
    promise = gateway.disk.records[session.id].promise_boot
    faster = replace(session.service, name="fast")
    assert not gateway.engine.change(session.id, faster, gateway.clock.boot())
    gateway.engine.reconsider(session.id, session.since, faster, gateway.clock.boot())
    gateway.written()
    assert gateway.disk.records[session.id].promise_boot == promise
    gateway.kill()
    seconds(gateway, 3 * SECOND)
    assert gateway.find(1) is not None, "its address is still its own"
    gateway.cut = False
    seconds(gateway, 61 * SECOND)
    assert mine is not None
    assert gateway.uses(1, mine)


def test_a_pool_that_a_reload_takes_away_keeps_its_blocks_until_nobody_is_in_them() -> None:
    nexus = Nexus()
    gateway = site("a", nexus)
    mine = gateway.arrive(1)
    gateway.engine.reconfigure(gateway.blocks.equip([], {}), gateway.engine._authorization, gateway.engine._admission)
    gateway.clock.wait(2 * SECOND)
    gateway.talk()
    assert mine is not None
    assert [key for key in nexus.store.entries if key.startswith("held/")], "its session is on its way out"
    seconds(gateway, 3 * SECOND)
    assert mine not in gateway.served()
    assert not [key for key in nexus.store.entries if key.startswith("held/")]


def test_a_session_that_was_renewed_in_its_last_moment_does_not_come_back_on_a_block_that_is_lost() -> None:
    gateway = site("a", Nexus())
    mine = gateway.arrive(1)
    assert mine is not None
    gateway.engine.take([(gateway.client(1), life.Released(mine, gateway.clock.boot()))], gateway.clock.boot())
    session = gateway.find(1)
    assert session is not None
    assert session.phase is Phase.REMOVING
    gateway.clock.wait(1)
    gateway.plane._renewed[session.id] = gateway.clock.boot()
    gateway.blocks.fence(gateway.clock.boot())
    seconds(gateway, SECOND)
    assert mine not in gateway.served()
    assert gateway.find(1) is None


def test_what_is_leased_does_not_become_the_gateways_own_by_a_line_less_in_its_file() -> None:
    gateway = site("a", Nexus())
    own = POOL.model_copy(update={"nexus": None})
    with pytest.raises(StillLeased, match="start once without the pool"):
        gateway.side.check([own])
    gateway.side.check([POOL])
