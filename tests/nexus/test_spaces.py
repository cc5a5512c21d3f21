"""Pools as numbers: blocks of each kind, and pools that make no sense."""

from __future__ import annotations

import pytest

from wayleave.nexus.model import Kind, Pool
from wayleave.nexus.spaces import Senseless, space


def pool(kind: Kind, text: str, block: int, unit: int = 0) -> Pool:
    return Pool("residential", kind, text, block, unit)


@pytest.mark.parametrize(
    ("of", "blocks", "index", "bounds"),
    [
        (pool(Kind.IPV4, "100.64.0.0/16", 64), 1024, 1023, ("100.64.255.192", "100.64.255.255")),
        (pool(Kind.IPV4, "192.0.2.0/24", 1), 256, 7, ("192.0.2.7", "192.0.2.7")),
        (pool(Kind.IPV6, "2001:db8::/32", 256, 56), 65536, 1, ("2001:db8:1::/56", "2001:db8:1:ff00::/56")),
        (pool(Kind.IPV6, "2001:db8::/56", 1, 56), 1, 0, ("2001:db8::/56", "2001:db8::/56")),
        (pool(Kind.VLAN, "100-4000", 100), 40, 39, ("4000", "4000")),
        (pool(Kind.VLAN, "100-4000", 100), 40, 0, ("100", "199")),
    ],
)
def test_blocks_of_a_kind(of: Pool, blocks: int, index: int, bounds: tuple[str, str]) -> None:
    found = space(of)
    assert (found.blocks, found.bounds(index)) == (blocks, bounds)


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (pool(Kind.IPV4, "100.64.0.1/16", 64), "host bits"),
        (pool(Kind.IPV4, "100.64.0.0", 2), "1 at most"),
        (pool(Kind.IPV4, "100.64.0.0/24", 48), "power of two"),
        (pool(Kind.IPV4, "100.64.0.0/24", 512), "256 at most"),
        (pool(Kind.IPV4, "100.64.0.0/24", 0), "one unit at least"),
        (pool(Kind.IPV4, "100.64.0.0/24", 4, 24), "unit"),
        (pool(Kind.IPV4, "10.0.0.0/8", 1), "16,777,216 blocks"),
        (pool(Kind.IPV6, "2001:db8::/32", 1), "from 32 to 64"),
        (pool(Kind.IPV6, "2001:db8::/32", 1, 72), "from 32 to 64"),
        (pool(Kind.VLAN, "100", 10), "FIRST-LAST"),
        (pool(Kind.VLAN, "0-10", 10), "FIRST-LAST"),
        (pool(Kind.VLAN, "20-10", 10), "FIRST-LAST"),
        (pool(Kind.VLAN, "100-4095", 10), "4094"),
    ],
)
def test_what_makes_no_sense_is_said(of: Pool, says: str) -> None:
    with pytest.raises(Senseless, match=says):
        space(of)
