"""Another provider on a live line: the line stays as it is, and its customer is the other provider's from then on."""

from __future__ import annotations

from ipaddress import IPv4Network

from wayleave.lab.access_node import Line
from wayleave.lab.nexus import nexus_in
from wayleave.lab.other_way import TENANT, lay
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

ACME, BETA = IPv4Network("100.64.0.0/24"), IPv4Network("100.70.0.0/24")
POOL = f"""
{TENANT}

[[pools]]
name = "beta-home"
tenant = "other"
network = "{BETA}"
gateway = "{BETA[1]}"
lease = "60s"
nexus = "beta-home"
"""


def test_another_provider_takes_over_a_line_while_its_customer_is_online() -> None:
    with Lab([Line(100, 1), Line(100, 2)], pools=[ACME]) as lab, nexus_in(lab) as nexus:
        lay(lab, BETA)
        for name, network, tenant in (("acme-home", ACME, "default"), ("beta-home", BETA, "other")):
            space = {"kind": "ipv4", "space": str(network), "block": 16}
            nexus.make(f"/v1/pools/{name}", {"name": name, "tenant": tenant, **space})
            nexus.make(f"/v1/providers/{tenant}", {"name": tenant, "tenant": tenant, "pool": name})
        line = {"name": "door-1", "node": lab.instance, "port": 1, "svid": 100, "cvid": 1, "ont": "ONT1"}
        nexus.make("/v1/lines/door-1", line)
        smith = {"name": "smith", "provider": "default", "line": "door-1"}
        nexus.make("/v1/subscribers/smith", smith)
        config = lab.config(
            pool={"name": "acme-home", "nexus": "acme-home", "lease": "60s"},
            authorization={"default": None},
            more=nexus.section(lab.sites[0]) + POOL,
        )
        lab.gateway.start(config)
        wait_until(lambda: len(lab.gateway.get("/nexus")["shares"]) == 2, "both pools")
        wait_until(lambda: len(lab.gateway.blocks()) == 2, "a block of each")

        customer, stranger = lab.customers
        first = customer.dhcp("udhcpc")
        assert first.address in ACME
        assert customer.ping(lab.server_address)
        answer = nexus.ask("GET", "/v1/subscribers/smith")
        seen = {"If-Match": answer.headers["etag"]}
        assert nexus.ask("PUT", "/v1/subscribers/smith", {**smith, "provider": "other"}, seen).status == 200
        wait_until(lambda: not customer.ping(lab.server_address, count=1, timeout=0.3), "the end of the old service")
        second = customer.dhcp("udhcpc")
        assert second.address in BETA
        assert customer.ping(lab.server_address)
        (session,) = lab.gateway.get("/sessions")["sessions"]
        assert (session["tenant"], session["subscriber"], session["line"]) == ("other", "smith", "1:100.1")
        assert nexus.ask("GET", "/v1/lines/door-1").body == {**line, "circuit": "", "owner": ""}, "as it was"

        nexus.kill9()
        lab.gateway.kill9()
        lab.gateway.restart()
        assert customer.ping(lab.server_address), "the view is on the disk"
        again = customer.dhcp("udhcpc")
        assert again.address in BETA
        process = stranger.dhcp_start("udhcpc")
        wait_until(lambda: lab.gateway.get("/counters")["sessions"]["refused"].get("unknown-client"), "a refusal")
        process.kill()
