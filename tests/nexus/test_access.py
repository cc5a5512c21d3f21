"""Who asks, out of a certificate; how often it may, and what it is let in with."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from wayleave.net.units import SECOND, BootNs, UtcNs
from wayleave.nexus.access import MOST_BODY, Bucket, Gate, Peer, Role, peer_of
from wayleave.nexus.problems import TooLarge
from wayleave.nexus.refusal import Forbidden
from wayleave.nexus.settings import LimitSettings


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


class Asking:
    """A gate with a clock of its own, and an application that lists whom it has served."""

    def __init__(self, **limits: int) -> None:
        self.now, self.utc = BootNs(0), UtcNs(0)
        self.answers: Counter[tuple[str, str]] = Counter()
        self.served: list[Peer] = []
        service: Any = SimpleNamespace(
            boot=lambda: self.now, utc=lambda: self.utc, counts=SimpleNamespace(answers=self.answers)
        )
        self.gate = Gate(self._application, LimitSettings(**limits), service)

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        self.served.append(scope["state"]["peer"])
        while (message := await receive())["more_body"]:
            assert len(message["body"]) <= MOST_BODY
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def ask(self, shown: dict[str, Any], *body: bytes) -> tuple[int, dict[str, str]]:
        """Return the status and the headers of what is answered."""
        said: list[Any] = []
        pieces = [*body, b""]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            said.append(message)

        asyncio.run(self.gate({"type": "http", "state": {"certificate": shown}}, receive, send))
        headers = {key.decode(): value.decode() for key, value in said[0]["headers"]}
        return said[0]["status"], headers


OURS = certificate((OU, "node"), (CN, "bng1"))


def test_a_certificate_ends_also_while_its_connection_lasts() -> None:
    asking = Asking()
    end = peer_of(OURS).until
    asking.utc = UtcNs(end - 1)
    assert asking.ask(OURS)[0] == 200
    asking.utc = end
    assert asking.ask(OURS)[0] == 403
    assert [str(peer) for peer in asking.served] == ["node bng1"]
    assert asking.answers == {("node", "200"): 1, ("node", "403"): 1}


@pytest.mark.parametrize("shown", [{}, certificate((OU, "server"), (CN, "nexus1"))])
def test_who_is_nobody_is_served_nothing(shown: dict[str, Any]) -> None:
    asking = Asking()
    assert asking.ask(shown)[0] == 403
    assert asking.served == []
    assert asking.answers == {("unknown", "403"): 1}


def test_each_has_a_limit_of_its_own() -> None:
    asking = Asking(rate=2, burst=2)
    other = certificate((OU, "node"), (CN, "bng2"))
    assert [asking.ask(OURS)[0] for _ in range(3)] == [200, 200, 429]
    assert asking.ask(OURS)[1]["retry-after"] == "1"
    assert asking.ask(other)[0] == 200
    assert asking.ask(certificate((OU, "provider"), (CN, "bng1")))[0] == 200
    asking.now = BootNs(SECOND // 2)
    assert [asking.ask(OURS)[0] for _ in range(2)] == [200, 429]


def test_a_body_that_is_too_large_is_not_taken_in() -> None:
    asking = Asking()
    assert asking.ask(OURS, b"x" * MOST_BODY)[0] == 200
    with pytest.raises(TooLarge):
        asking.ask(OURS, b"x" * MOST_BODY, b"x")
