"""Pools as numbers: what the blocks of each kind are, and which pools make no sense.

A pool is a run of units, cut into blocks of one size, numbered from 0; of VLANs the last block may be short.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from msgspec import Struct

from wayleave.nexus.model import Kind, Pool

MOST_BLOCKS = 1 << 20
LAST_VLAN = 4094


class Senseless(ValueError):
    """A pool that cannot be; the text says what to change."""


class Space(Struct, frozen=True):
    """Units `first` to `last`, of which `size` are a block; `write` makes text of one."""

    first: int
    last: int
    size: int
    write: Callable[[int], str]

    @property
    def blocks(self) -> int:
        """How many there are."""
        return (self.last - self.first) // self.size + 1

    def bounds(self, index: int) -> tuple[str, str]:
        """Return the first and the last unit of a block."""
        start = self.first + index * self.size
        return self.write(start), self.write(min(start + self.size - 1, self.last))


def space(pool: Pool) -> Space:
    """Return what a pool is cut of. Raises: Senseless."""
    if pool.block < 1:
        raise Senseless("block: has to be one unit at least")
    found = _KINDS[pool.kind](pool)
    if found.blocks > MOST_BLOCKS:
        raise Senseless(f"block: makes {found.blocks:,} blocks, and {MOST_BLOCKS:,} is the most; make blocks larger")
    return found


def _ipv4(pool: Pool) -> Space:
    if pool.unit:
        raise Senseless("unit: is of IPv6 pools; leave it out")
    network = _network(IPv4Network, pool.space, "100.64.0.0/16")
    _whole(pool.block, 32 - network.prefixlen)
    first = int(network.network_address)
    return Space(first, first + network.num_addresses - 1, pool.block, lambda unit: str(IPv4Address(unit)))


def _ipv6(pool: Pool) -> Space:
    network = _network(IPv6Network, pool.space, "2001:db8::/32")
    if not network.prefixlen <= pool.unit <= 64:
        raise Senseless(f"unit: the length of a delegated prefix, from {network.prefixlen} to 64")
    _whole(pool.block, pool.unit - network.prefixlen)
    shift = 128 - pool.unit
    first = int(network.network_address) >> shift
    last = int(network.broadcast_address) >> shift
    return Space(first, last, pool.block, lambda unit: f"{IPv6Address(unit << shift)}/{pool.unit}")


def _vlan(pool: Pool) -> Space:
    if pool.unit:
        raise Senseless("unit: is of IPv6 pools; leave it out")
    ends = pool.space.split("-")
    numbers = [int(end) if end.isdecimal() and len(end) < 5 else 0 for end in ends]
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1] <= LAST_VLAN:
        raise Senseless(f"space: VLANs are written FIRST-LAST, from 1 to {LAST_VLAN}, such as 100-4000")
    return Space(numbers[0], numbers[1], pool.block, str)


_KINDS: dict[Kind, Callable[[Pool], Space]] = {Kind.IPV4: _ipv4, Kind.IPV6: _ipv6, Kind.VLAN: _vlan}


_Network = TypeVar("_Network", IPv4Network, IPv6Network)


def _network(kind: type[_Network], text: str, such_as: str) -> _Network:
    try:
        return kind(text)
    except ValueError as error:
        raise Senseless(f"space: {error}; write a network, such as {such_as}") from None


def _whole(block: int, bits: int) -> None:
    """A block is a prefix, that one route may lead to."""
    if block & (block - 1) or block > 1 << bits:
        raise Senseless(f"block: has to be a power of two, and {1 << bits} at most")
