"""Two machines that take themselves for one gateway: the one that another took over from owns nothing."""

from __future__ import annotations

import pytest

from wayleave.nexus.holding import Holding
from wayleave.nexus.refusal import Fenced
from wayleave.nexus.store.port import Store
from wayleave.proto.nexus.messages import Renew

from .driven import run


@pytest.fixture
def holding(store: Store) -> Holding:
    return Holding(store)


def test_a_gateway_that_restarts_goes_on_with_its_hold(holding: Holding) -> None:
    assert run(holding.renew("edge-1", Renew(0, "first"))).epoch == 1
    for process in ("first", "second", "second", "third"):
        assert run(holding.renew("edge-1", Renew(1, process))).epoch == 1


def test_a_copy_of_a_gateway_is_found_out_when_the_first_one_renews(holding: Holding) -> None:
    run(holding.renew("edge-1", Renew(0, "machine")))
    assert run(holding.renew("edge-1", Renew(1, "copy"))).epoch == 1, "it may as well be the same, after a restart"
    with pytest.raises(Fenced, match="do two machines have one certificate"):
        run(holding.renew("edge-1", Renew(1, "machine")))
    assert run(holding.renew("edge-1", Renew(1, "copy"))).epoch == 1
