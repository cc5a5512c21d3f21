"""Pools as numbers: what the blocks of each kind are, and which pools make no sense.

A pool is a run of units, cut into blocks of one size, numbered from 0; of VLANs the last block may be short. A pair of
an S-VID and a C-VID is written S.C, as in a line, and a range of ports ADDRESS:FIRST-LAST.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from msgspec import Struct

from wayleave.nexus.model import Kind, Pool
from wayleave.proto.nexus.messages import SINGLE

MOST_BLOCKS = SINGLE
LAST_VLAN = 4094
FIRST_PORT = 1024
"""Ports below it are well known ones, and in no range."""
_PORTS = 1 << 16
_FEWEST_PORTS, _MOST_PORTS = 64, 1 << 15


class Senseless(ValueError):
    """A pool that cannot be; the text says what to change."""


class Space(Struct, frozen=True):
    """Units `first` to `last`, of which `size` are a block. `write` makes text of one, `read` undoes that."""

    first: int
    last: int
    size: int
    write: Callable[[int], str]
    read: Callable[[str], int]
    """Raises: ValueError."""

    @property
    def blocks(self) -> int:
        """How many there are."""
        return (self.last - self.first) // self.size + 1

    def bounds(self, index: int) -> tuple[str, str]:
        """Return the first and the last unit of a block."""
        start, end = self.units(index)
        return self.write(self.first + start), self.write(self.first + end)

    def has(self, index: int) -> bool:
        """Whether there is such a block, or such a single unit."""
        return index < self.blocks or SINGLE <= index <= SINGLE + self.last - self.first

    def units(self, index: int) -> tuple[int, int]:
        """Return the numbers of a block's first and last unit; the first of the pool has 0."""
        if index >= SINGLE:
            return index - SINGLE, index - SINGLE
        start = index * self.size
        return start, min(start + self.size - 1, self.last - self.first)

    def unit(self, number: int) -> str:
        """Return the text of the unit that has a number."""
        return self.write(self.first + number)

    def number(self, text: str) -> int:
        """Return the number of a unit. Raises: Senseless, if it is none of the pool's."""
        try:
            found = self.read(text)
        except ValueError:
            found = -1
        if not self.first <= found <= self.last or self.write(found) != text:
            ends = f"from {self.write(self.first)} to {self.write(self.last)}"
            raise Senseless(f"{text!r} is no unit of the pool: they are {ends}, written like these")
        return found - self.first


def space(pool: Pool) -> Space:
    """Return what a pool is cut of. Raises: Senseless."""
    if pool.block < 1:
        raise Senseless("block: has to be one unit at least")
    found = _KINDS[pool.kind](pool)
    if found.blocks > MOST_BLOCKS:
        raise Senseless(f"block: makes {found.blocks:,} blocks, and {MOST_BLOCKS:,} is the most; make blocks larger")
    return found


def networks(pool: Pool) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return what no other pool of the tenant may overlap: nothing, of VLANs. Raises: Senseless."""
    match pool.kind:
        case Kind.IPV4 | Kind.PORTS:
            return (_network(IPv4Network, pool.space, "100.64.0.0/16"),)
        case Kind.IPV6:
            return (_network(IPv6Network, pool.space, "2001:db8::/32"),)
        case Kind.VLAN:
            return ()


def _ipv4(pool: Pool) -> Space:
    _without_unit(pool)
    network = _network(IPv4Network, pool.space, "100.64.0.0/16")
    _whole(pool.block, 32 - network.prefixlen)
    first = int(network.network_address)
    return Space(first, first + network.num_addresses - 1, pool.block, lambda unit: str(IPv4Address(unit)), _address)


def _address(text: str) -> int:
    return int(IPv4Address(text))


def _ipv6(pool: Pool) -> Space:
    network = _network(IPv6Network, pool.space, "2001:db8::/32")
    if not network.prefixlen <= pool.unit <= 64:
        raise Senseless(f"unit: the length of a delegated prefix, from {network.prefixlen} to 64")
    _whole(pool.block, pool.unit - network.prefixlen)
    shift = 128 - pool.unit
    return Space(
        int(network.network_address) >> shift,
        int(network.broadcast_address) >> shift,
        pool.block,
        lambda unit: f"{IPv6Address(unit << shift)}/{pool.unit}",
        lambda text: int(IPv6Network(text).network_address) >> shift,
    )


def _ports(pool: Pool) -> Space:
    """Ranges begin at multiples of their size, and those below `FIRST_PORT` are left out."""
    network = _network(IPv4Network, pool.space, "192.0.2.0/24")
    if not _FEWEST_PORTS <= pool.unit <= _MOST_PORTS or pool.unit & (pool.unit - 1):
        raise Senseless(f"unit: ports of a range, a power of two from {_FEWEST_PORTS} to {_MOST_PORTS:,}")
    _whole(pool.block, 32 - network.prefixlen)
    lowest = max(FIRST_PORT // pool.unit, 1)
    ranges = _PORTS // pool.unit - lowest
    base = int(network.network_address)

    def write(unit: int) -> str:
        address, at = divmod(unit, ranges)
        port = (lowest + at) * pool.unit
        return f"{IPv4Address(base + address)}:{port}-{port + pool.unit - 1}"

    def read(text: str) -> int:
        address, _, ports = text.partition(":")
        port = int(ports.partition("-")[0])
        return (_address(address) - base) * ranges + port // pool.unit - lowest

    return Space(0, network.num_addresses * ranges - 1, pool.block * ranges, write, read)


def _vlan(pool: Pool) -> Space:
    _without_unit(pool)
    outer, pairs, inner = pool.space.partition(".")
    first, last = _vids(outer)
    if not pairs:
        return Space(first, last, pool.block, str, int)
    lowest, highest = _vids(inner)
    width = highest - lowest + 1
    if width % pool.block:
        raise Senseless(f"block: has to divide the {width:,} C-VIDs, so that a block is of one S-VID")

    def write(unit: int) -> str:
        outer, inner = divmod(unit, width)
        return f"{first + outer}.{lowest + inner}"

    def read(text: str) -> int:
        outer, _, inner = text.partition(".")
        return (int(outer) - first) * width + int(inner) - lowest

    return Space(0, (last - first + 1) * width - 1, pool.block, write, read)


def _vids(text: str) -> tuple[int, int]:
    numbers = [int(end) if end.isdecimal() and len(end) < 5 else 0 for end in text.split("-")]
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1] <= LAST_VLAN:
        raise Senseless(
            f"space: VLANs are written FIRST-LAST, from 1 to {LAST_VLAN}, such as 100-4000, "
            "pairs of S- and C-VIDs FIRST-LAST.FIRST-LAST"
        )
    return numbers[0], numbers[1]


_KINDS: dict[Kind, Callable[[Pool], Space]] = {
    Kind.IPV4: _ipv4,
    Kind.IPV6: _ipv6,
    Kind.VLAN: _vlan,
    Kind.PORTS: _ports,
}


_Network = TypeVar("_Network", IPv4Network, IPv6Network)


def _network(kind: type[_Network], text: str, such_as: str) -> _Network:
    try:
        return kind(text)
    except ValueError as error:
        raise Senseless(f"space: {error}; write a network, such as {such_as}") from None


def _without_unit(pool: Pool) -> None:
    if pool.unit:
        raise Senseless("unit: is of pools of prefixes and of ports; leave it out")


def _whole(block: int, bits: int) -> None:
    """A block is a prefix, that one route may lead to."""
    if block & (block - 1) or block > 1 << bits:
        raise Senseless(f"block: has to be a power of two, and {1 << bits} at most")
