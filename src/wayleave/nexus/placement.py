"""Which block of a pool a gateway tries first: rendezvous hashing, in two levels.

Every gateway has an order of its own over all blocks, and keeps it whichever gateways come and go; so two that claim at
once seldom meet, and one that lost everything asks for the same blocks again. It is a preference and no more: who owns
a block is decided by the store (`holding`).

Blocks are ranked in groups of 256, then within their group, so that the first few of 65,536 take one ranking of
groups and one of blocks. Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998).
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from itertools import islice

GROUP = 256
_REMEMBERED = 10_000
"""Gateways, times their pools: ranking takes a millisecond, and each asks again and again."""


@lru_cache(_REMEMBERED)
def preferred(node: str, pool: str, count: int, most: int) -> tuple[int, ...]:
    """Return the indices of the first `most` blocks in `node`'s order."""
    return tuple(islice(order(node, pool, count), most))


def order(node: str, pool: str, count: int, among: Container[int] | None = None) -> Iterator[int]:
    """Yield the indices of `count` blocks, the one that `node` prefers first: all, or those of `among`.

    The latter are asked for a group at a time, as it comes to it.
    """
    for group in _ranked(node, f"{pool}/groups", range((count + GROUP - 1) // GROUP)):
        start = group * GROUP
        indices = range(start, min(start + GROUP, count))
        yield from _ranked(node, pool, indices if among is None else [index for index in indices if index in among])


def _ranked(node: str, space: str, indices: Iterable[int]) -> list[int]:
    keyed = hashlib.blake2b(f"{node}\0{space}\0".encode(), digest_size=8)

    def weight(index: int) -> bytes:
        mixed = keyed.copy()
        mixed.update(index.to_bytes(4, "big"))
        return mixed.digest()

    return sorted(indices, key=weight)
