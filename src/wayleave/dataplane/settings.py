"""Configuration of the policers in front of Python and of the kernel."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from wayleave.dataplane.abi import Policer, PolicerRate
from wayleave.net.units import SECOND
from wayleave.session.settings import Leaf


class Rate(Leaf):
    """Packets a second, and how many at once; 0 a second: not policed."""

    pps: int = Field(ge=0)
    burst: int = Field(ge=1)

    def row(self) -> PolicerRate:
        """As virtual time: what a packet costs, and how far ahead of now a bucket may run."""
        if not self.pps:
            return PolicerRate(0, 0)
        cost = SECOND // self.pps
        return PolicerRate(cost, cost * (self.burst - 1))


def _rate(pps: int, burst: int, description: str) -> Any:
    return Field(default=Rate(pps=pps, burst=burst), description=description)


class PuntSettings(Leaf):
    """How much may come up. A class is everything of its kind; a line is port and tags; a client a MAC on a line."""

    known: Rate = _rate(20_000, 20_000, "DHCP of clients that have a session: all of it together")
    new: Rate = _rate(10_000, 10_000, "DHCP of clients that have none: all of it together")
    line: Rate = _rate(20, 40, "DHCP of one line")
    shared: Rate = _rate(1_000, 1_000, 'DHCP of one VLAN that lines share, in the place of `line`: `line = "circuit"`')
    client: Rate = _rate(5, 10, "DHCP of one client")
    ppp_known: Rate = _rate(20_000, 20_000, "PPP's control of sessions that have an address: all of it together")
    ppp_new: Rate = _rate(20_000, 20_000, "the same of sessions on their way to one: all of it together")
    pppoe_discovery: Rate = _rate(5_000, 20_000, "PPPoE discovery: all of it together")
    pppoe_line: Rate = _rate(40, 80, "PPPoE discovery and PPP's control of one line; a session takes about a dozen")
    pppoe_shared: Rate = _rate(5_000, 5_000, "the same of one VLAN that lines share, in the place of `pppoe_line`")
    pppoe_client: Rate = _rate(20, 40, "the same of one client")
    link: Rate = _rate(5_000, 1_000, "packets for the local kernel to answer: all together")
    link_line: Rate = _rate(100, 100, "the same of one line, in shared VLANs one client, on network ports one source")
    sample: Rate = _rate(
        200, 200, "samples of dropped packets, for the journals: all together; of what meters drop the same again"
    )
    sample_line: Rate = _rate(20, 20, "the same of what one line sends")
    sample_client: Rate = _rate(1, 3, "the same of one client and drop reason")

    def rows(self) -> dict[Policer, PolicerRate]:
        """The map `policers`."""
        return {
            Policer.DHCP4_KNOWN: self.known.row(),
            Policer.DHCP4_NEW: self.new.row(),
            Policer.PPP_KNOWN: self.ppp_known.row(),
            Policer.PPP_NEW: self.ppp_new.row(),
            Policer.PPPOE_DISCOVERY: self.pppoe_discovery.row(),
            Policer.LINE: self.line.row(),
            Policer.CLIENT: self.client.row(),
            Policer.SHARED: self.shared.row(),
            Policer.PPPOE_LINE: self.pppoe_line.row(),
            Policer.PPPOE_CLIENT: self.pppoe_client.row(),
            Policer.PPPOE_SHARED: self.pppoe_shared.row(),
            Policer.LINK: self.link.row(),
            Policer.LINK_LINE: self.link_line.row(),
            Policer.SAMPLE: self.sample.row(),
            Policer.SAMPLE_CLIENT: self.sample_client.row(),
            Policer.SAMPLE_LINE: self.sample_line.row(),
            Policer.SAMPLE_METERED: self.sample.row(),
        }
