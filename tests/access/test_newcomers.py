"""Who waits for a gateway that has no time: in what order, and for how long."""

from __future__ import annotations

import pytest

from wayleave.access import newcomers
from wayleave.access.newcomers import PATIENCE, TOGETHER, Newcomers
from wayleave.net.units import SECOND, BootNs, after
from wayleave.session.model import NEVER

NOON = BootNs(1000 * SECOND)


class Gateway:
    """What is busy, or not."""

    def __init__(self) -> None:
        self.busy = True
        self.newcomers = Newcomers(lambda: self.busy)

    def ask(self, number: int) -> bool:
        return self.newcomers.add(1, b"padi %d" % number, NOON)

    def admit(self, now: BootNs = NOON) -> list[int]:
        return [int(data.split()[1]) for _, data in self.newcomers.admit(now)]


def test_nobody_waits_for_a_gateway_that_is_idle() -> None:
    gateway = Gateway()
    assert gateway.newcomers.wait
    gateway.busy = False
    assert not gateway.newcomers.wait
    assert gateway.newcomers.deadline == NEVER


def test_all_are_let_in_as_they_came_so_many_at_once() -> None:
    gateway = Gateway()
    assert all(gateway.ask(number) for number in range(TOGETHER + 2))
    assert gateway.admit() == []
    gateway.busy = False
    assert gateway.newcomers.wait, "who comes now stands behind those who wait"
    assert gateway.admit() == list(range(TOGETHER))
    assert gateway.admit() == [TOGETHER, TOGETHER + 1]
    assert gateway.admit() == []
    assert not gateway.newcomers.wait


def test_who_asks_again_keeps_its_place_and_is_answered_once() -> None:
    gateway = Gateway()
    for number in (1, 2, 1):
        gateway.ask(number)
    gateway.busy = False
    assert gateway.admit() == [1, 2]


def test_the_same_words_on_another_port_are_another_s() -> None:
    gateway = Gateway()
    gateway.ask(1)
    gateway.newcomers.add(2, b"padi 1", NOON)
    assert len(gateway.newcomers) == 2


def test_a_gateway_that_is_never_idle_lets_one_in_each_time_that_patience_ends() -> None:
    gateway = Gateway()
    for number in range(3):
        gateway.ask(number)
    assert gateway.newcomers.deadline == after(NOON, PATIENCE)
    assert gateway.admit(BootNs(gateway.newcomers.deadline - 1)) == []
    for number in range(3):
        now = gateway.newcomers.deadline
        assert gateway.admit(now) == [number]
        assert gateway.admit(now) == []
    assert gateway.newcomers.deadline == NEVER


def test_there_is_no_room_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "MOST", 2)
    gateway = Gateway()
    assert [gateway.ask(number) for number in range(3)] == [True, True, False]
