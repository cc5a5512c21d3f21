"""What a port's device has to carry follows from what is served there."""

from __future__ import annotations

import pytest

from wayleave.access.settings import PortSettings, PppoeSettings, least_mtu


@pytest.mark.parametrize(
    ("role", "protocols", "mru", "least"),
    [
        ("network", ("ipoe",), 1492, 1500),
        ("subscriber", ("ipoe",), 1500, 1508),
        ("subscriber", ("pppoe",), 1492, 1508),
        ("subscriber", ("pppoe",), 1400, 1508),
        ("subscriber", ("ipoe", "pppoe"), 1493, 1509),
        ("subscriber", ("pppoe",), 1500, 1516),
    ],
)
def test_a_port_carries_what_its_protocols_put_behind_two_tags(role, protocols, mru, least):
    port = PortSettings(number=1, device="olt0", role=role, protocols=protocols)
    assert least_mtu(port, PppoeSettings(mru=mru)) == least
