"""Configuration of the policers in front of Python and of the kernel."""

from __future__ import annotations

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


class PuntSettings(Leaf):
    """How much may come up. A class is everything of its kind; a line is port and tags; a client a MAC on a line."""

    known: Rate = Rate(pps=20_000, burst=20_000)
    new: Rate = Rate(pps=10_000, burst=10_000)
    line: Rate = Rate(pps=20, burst=40)
    client: Rate = Rate(pps=5, burst=10)
    link: Rate = Rate(pps=5_000, burst=1_000)
    link_line: Rate = Rate(pps=100, burst=100)

    def rows(self) -> dict[Policer, PolicerRate]:
        """The map `policers`."""
        return {
            Policer.DHCP4_KNOWN: self.known.row(),
            Policer.DHCP4_NEW: self.new.row(),
            Policer.LINE: self.line.row(),
            Policer.CLIENT: self.client.row(),
            Policer.LINK: self.link.row(),
            Policer.LINK_LINE: self.link_line.row(),
        }
