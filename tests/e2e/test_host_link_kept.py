"""What somebody takes away of a host link is put back while the gateway runs; while it cannot be, everybody says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.obstruct import obstructed
from tests.e2e.test_doctor import doctor
from tests.e2e.watch import dropped
from wayleave.daemon.hostlinks import LOOK_EVERY_S
from wayleave.lab.access_node import Line
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

OTHER_TABLE = 100
FREE = "100.64.3.201"
LINK, OURS = "wl-default", "wlx-default"


@pytest.fixture(scope="module", params=[254, OTHER_TABLE], ids=["the main table", "a table of its own"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.namespace.ip(f"route add default via {lab.router_address} table {OTHER_TABLE}")
        lab.gateway.start(lab.config(tenant={"table": request.param}))
        lab.customers[0].dhcp("udhcpc")
        yield lab


HARM: dict[str, tuple[str, ...]] = {
    "down": (f"link set {LINK} down",),
    "down and up": (f"link set {LINK} down", f"link set {LINK} up"),
    "our end down": (f"link set {OURS} down",),
    "deleted": (f"link del {LINK}",),
    "no address": (f"addr flush dev {LINK}",),
    "no rules": ("rule flush", "rule add pref 32766 lookup main"),
    "no neighbour and no route": (f"neigh flush dev {LINK} nud permanent", f"route flush table all dev {LINK} proto 4"),
}


def works(lab: Lab) -> bool:
    """The kernel and customers reach each other, and what goes to a free address ends here."""
    customer = lab.customers[0]
    nobody = dropped(lab.gateway, "no-subscriber")
    with lab.router.capture() as core:
        lab.server.ping(FREE, count=1, timeout=0.1)
    came = core.matching(lambda f: f.ip and str(f.ip.destination) == FREE)
    return (
        nobody.grown == 1
        and len(came) == 1
        and bool(customer.ping(lab.pool_gateway, count=1, timeout=0.2))
        and bool(lab.gateway.ping(str(customer.address), count=1, timeout=0.2))
    )


@pytest.mark.parametrize("what", HARM)
def test_what_is_taken_away_is_put_back_and_traffic_notices_nothing(lab: Lab, what: str) -> None:
    assert works(lab)
    before = lab.gateway.log.count("host-link-put-back")
    with lab.customers[0].pinging(lab.server_address, interval=0.01) as traffic:
        traffic.wait_for(10)
        lab.gateway.namespace.ip(*HARM[what])
        found_by_looking = what == "no neighbour and no route"
        patience = LOOK_EVERY_S + 5 if found_by_looking else LOOK_EVERY_S / 2
        wait_until(lambda: works(lab), lambda: f"a host link that is whole; {lab.gateway.log[-500:]}", patience)
        traffic.wait_for(10)
        result = traffic.stop()
    assert not result.missing
    assert lab.gateway.get("/readyz")["ready"]
    if what != "no rules" or f"lookup {OTHER_TABLE}" in lab.gateway.run("ip", "rule"):  # there are none for main
        wait_until(lambda: lab.gateway.log.count("host-link-put-back") > before, "a line in the log")
    status, lines = doctor(lab, lab.gateway.config_file.read_text())
    assert status == 0, lines
    assert f"good     host link {LINK}: whole" in lines


def test_while_it_cannot_be_put_back_everybody_says_so(lab: Lab) -> None:
    config = ("--config", str(lab.gateway.config_file))
    with obstructed(lab):
        (why,) = wait_until(
            lambda: [why for why in lab.gateway.request("GET", "/readyz")[1]["why"] if "another XDP" in why],
            "a gateway that is not ready",
        )
        assert lab.gateway.request("GET", "/readyz")[0] == 503
        assert why.startswith(f"the host link {LINK}: {OURS}: another XDP program is attached")
        told = lab.gateway.bng("diagnose", str(lab.customers[0].mac), *config, check=False)
        assert "host-link-gone" in told
        assert LINK in told
        wait_until(lambda: lab.gateway.log.count("host-link-broken") == 1, "a line in the log")
    assert works(lab)


def test_doctor_tells_of_a_link_that_nobody_keeps(lab: Lab) -> None:
    lab.gateway.kill9()
    lab.gateway.namespace.ip(f"link set {LINK} down")
    status, lines = doctor(lab, lab.gateway.config_file.read_text())
    assert status == 1
    (line,) = (line for line in lines if "host link" in line)
    assert line.startswith(f"bad      host link {LINK}: lacks {LINK} up, ")
    assert f"the route to {lab.pools[0]}" in line
    lab.gateway.restart()
    assert works(lab)
