"""A start with other table sizes: the maps are made anew beside the old ones, and traffic never stops."""

from __future__ import annotations

from wayleave.lab.access_node import Line
from wayleave.lab.topology import PINS, Lab


def test_growing_the_tables_at_a_restart_loses_no_packet_and_no_session() -> None:
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.start(lab.config(gateway={"sessions": 1024}))
        customer = lab.customers[0]
        lease = customer.dhcp()
        (before,) = (PINS / lab.instance).glob("maps-*")
        with customer.pinging(lab.server_address, interval=0.005) as pinging:
            pinging.wait_for(20)
            assert lab.gateway.stop() == 0
            lab.gateway.start(lab.config(gateway={"sessions": 2048}))
            pinging.wait_for(100)
            result = pinging.stop()
        assert not result.missing
        (session,) = lab.gateway.get("/sessions")["sessions"]
        assert session["address"] == str(lease.interface.ip)
        (after,) = (PINS / lab.instance).glob("maps-*")
        assert after != before
        assert customer.renew().interface == lease.interface
