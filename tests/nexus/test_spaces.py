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
        (pool(Kind.VLAN, "100-109.1-4000", 1000), 40, 0, ("100.1", "100.1000")),
        (pool(Kind.VLAN, "100-109.1-4000", 1000), 40, 39, ("109.3001", "109.4000")),
        (pool(Kind.PORTS, "192.0.2.0/24", 4, 1024), 64, 63, ("192.0.2.252:1024-2047", "192.0.2.255:64512-65535")),
        (pool(Kind.PORTS, "192.0.2.0/24", 1, 64), 256, 1, ("192.0.2.1:1024-1087", "192.0.2.1:65472-65535")),
        (pool(Kind.PORTS, "192.0.2.0/24", 1, 4096), 256, 0, ("192.0.2.0:4096-8191", "192.0.2.0:61440-65535")),
    ],
)
def test_blocks_of_a_kind(of: Pool, blocks: int, index: int, bounds: tuple[str, str]) -> None:
    found = space(of)
    assert (found.blocks, found.bounds(index)) == (blocks, bounds)


@pytest.mark.parametrize(
    "of",
    [
        pool(Kind.IPV4, "100.64.0.0/28", 4),
        pool(Kind.IPV6, "2001:db8::/52", 2, 56),
        pool(Kind.VLAN, "100-130", 10),
        pool(Kind.VLAN, "7-9.10-13", 2),
        pool(Kind.PORTS, "192.0.2.0/30", 1, 8192),
    ],
)
def test_every_unit_has_a_number_and_every_number_a_unit(of: Pool) -> None:
    found = space(of)
    numbers = [number for index in range(found.blocks) for number in range(*_ends(found.units(index)))]
    assert numbers == list(range(len(numbers)))
    units = [found.unit(number) for number in numbers]
    assert [found.number(text) for text in units] == numbers
    assert len(set(units)) == len(units)
    ends = [found.bounds(index) for index in range(found.blocks)]
    assert ends == [tuple(found.unit(number) for number in found.units(index)) for index in range(found.blocks)]


def _ends(ends: tuple[int, int]) -> tuple[int, int]:
    return ends[0], ends[1] + 1


@pytest.mark.parametrize(
    ("of", "texts"),
    [
        (
            pool(Kind.IPV4, "100.64.0.0/28", 4),
            ["100.64.0.16", "100.63.255.255", "100.64.0.1/32", "100.64.0.01", "", "x"],
        ),
        (pool(Kind.IPV6, "2001:db8::/52", 2, 56), ["2001:db8::/57", "2001:db8:0:1000::/56", "2001:db8::1/56"]),
        (pool(Kind.VLAN, "100-130", 10), ["99", "131", " 100", "100.1"]),
        (pool(Kind.VLAN, "7-9.10-13", 2), ["7", "7.9", "7.14", "10.10", "6.13"]),
        (
            pool(Kind.PORTS, "192.0.2.0/30", 1, 8192),
            ["192.0.2.0", "192.0.2.0:0-8191", "192.0.2.4:8192-16383", "192.0.2.0:8192-1"],
        ),
    ],
)
def test_what_is_no_unit_has_no_number(of: Pool, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(Senseless, match="no unit of the pool"):
            space(of).number(text)


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
        (pool(Kind.VLAN, "100-109.1-4000", 3), "divide the 4,000 C-VIDs"),
        (pool(Kind.VLAN, "100-109.", 10), "FIRST-LAST"),
        (pool(Kind.PORTS, "192.0.2.0/24", 1), "power of two from 64 to 32,768"),
        (pool(Kind.PORTS, "192.0.2.0/24", 1, 1000), "power of two"),
        (pool(Kind.PORTS, "192.0.2.0/24", 3, 1024), "power of two"),
    ],
)
def test_what_makes_no_sense_is_said(of: Pool, says: str) -> None:
    with pytest.raises(Senseless, match=says):
        space(of)
