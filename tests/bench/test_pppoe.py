"""The benchmarks of PPPoE run, small: they raise Wrong where packets go astray, or somebody is not online."""

from __future__ import annotations

import pytest

from . import dial, idle, packet, redial
from .crossing import Crossing, Plane
from .street import PASSWORD
from .traffic import Traffic

FEW = 60


@pytest.mark.parametrize("way", [dial.WAYS[0], dial.WAYS[-1]], ids=lambda way: way.name)
def test_dial(way: dial.Way) -> None:
    with dial.gateway(way, FEW) as street:
        run = dial.measure(street, FEW)
    assert run.a_second > 0


def test_own_passwords_are_asked_for() -> None:
    """A client with another password gets nowhere, so the way that is measured is the one that is named."""
    way = dial.WAYS[2]
    with dial.gateway(way, FEW) as street:
        secrets = street.lab.folder / "secrets.toml"
        secrets.write_text(secrets.read_text().replace(PASSWORD, "another"))
        street.lab.gateway.bng("reload", "--config", str(street.lab.gateway.config_file))
        with pytest.raises(dial.Wrong):
            dial.measure(street, FEW)


def test_the_profile_shows_what_frames_set_off() -> None:
    found = dial.profiled(dial.WAYS[0], FEW)
    assert len(found) == dial.PROFILED


def test_redial() -> None:
    found = redial.bench(quick=True)
    assert found.aims[0].met


def test_idle() -> None:
    assert idle.bench(quick=True).tables


def test_packet() -> None:
    traffic = Traffic()
    with Crossing() as crossing:
        plane = Plane(crossing, FEW, dialed=True)
        for direction in (packet.UP_PPPOE, packet.DOWN):
            packet.measure(traffic, plane, crossing, direction, FEW, 10_000)
        with pytest.raises(packet.Wrong):
            packet.measure(traffic, plane, crossing, packet.UP, FEW, 10_000)
    traffic.close()
