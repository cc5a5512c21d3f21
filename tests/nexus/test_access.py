"""Who asks, out of a certificate; and how often it may."""

from __future__ import annotations

from typing import Any

import pytest

from wayleave.net.units import SECOND, BootNs
from wayleave.nexus.access import Bucket, Peer, Role, peer_of
from wayleave.nexus.refusal import Forbidden


def certificate(*said: tuple[str, str]) -> dict[str, Any]:
    """As ssl tells it."""
    return {"subject": tuple((part,) for part in said), "notAfter": "Nov 28 13:00:00 2027 GMT"}


CN, OU = "commonName", "organizationalUnitName"


@pytest.mark.parametrize("role", list(Role))
def test_the_subject_says_who_it_is(role: Role) -> None:
    peer = peer_of(certificate((OU, role.value), (CN, "bng1")))
    assert peer == Peer(role, "bng1", peer.until)
    assert str(peer) == f"{role.value} bng1"
    assert peer.until == 1_827_406_800 * SECOND  # 2027-11-28 13:00 UTC


@pytest.mark.parametrize(
    "said",
    [
        (),
        ((CN, "bng1"),),
        ((OU, "node"),),
        ((OU, "server"), (CN, "nexus1")),
        ((OU, "Node"), (CN, "bng1")),
        ((OU, "node"), (OU, "operator"), (CN, "bng1")),
        ((OU, "node"), (CN, "bng1"), (CN, "bng2")),
        ((OU, "node"), (CN, "")),
        ((OU, "node"), (CN, "a/b")),
        ((OU, "node"), (CN, "../x")),
        ((OU, "node"), (CN, "bng1\n")),
    ],
)  # fmt: skip
def test_a_subject_that_says_it_in_another_way_is_nobodys(said: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Forbidden):
        peer_of(certificate(*said))


def test_without_a_subject_it_is_nobody() -> None:
    with pytest.raises(Forbidden):
        peer_of({})


def test_a_burst_is_answered_and_then_so_many_a_second() -> None:
    now = BootNs(7 * SECOND)
    bucket = Bucket(rate=4, burst=3, now=now)
    assert [bucket.take(now) for _ in range(3)] == [0, 0, 0]
    wait = bucket.take(now)
    assert wait == SECOND // 4
    assert bucket.take(BootNs(now + wait - 1)) == 1
    assert bucket.take(BootNs(now + wait)) == 0
    assert bucket.take(BootNs(now + wait)) > 0
    later = BootNs(now + 100 * SECOND)
    assert [bool(bucket.take(later)) for _ in range(4)] == [False, False, False, True]


def test_over_a_long_time_as_many_are_answered_as_the_rate_says() -> None:
    bucket = Bucket(rate=10, burst=5, now=BootNs(0))
    step, span = SECOND // 100, 20 * SECOND
    answered = sum(not bucket.take(BootNs(now)) for now in range(0, span, step))
    assert answered == 5 + 10 * 20 - 1
