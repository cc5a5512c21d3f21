"""What a gateway and Nexus say to each other, and Nexus keeps: JSON objects, here as types.

A *hold* is a gateway's right to the blocks that it has claimed. It has an epoch, and lasts `duration` from the moment
at which the gateway sent what renewed it. A *block* is a range of a pool, and belongs to one epoch of one gateway; its
`fence` grows with every owner, so what an earlier owner says of it can be told from what the present one says.
"""

from __future__ import annotations

from msgspec import Struct

from wayleave.net.units import Ns

SINGLE = 1 << 20
"""Indices from here on are of single units: `SINGLE` and the unit's number in its pool. Below are blocks."""


class Block(Struct, frozen=True, gc=False):
    """A range of a pool, both ends included, as the pool's kind writes them: addresses, prefixes or VLANs.

    A single unit is a range, too: one that Nexus keeps for a subscriber, wherever that is.
    """

    pool: str
    index: int
    first: str
    last: str
    fence: int

    @property
    def key(self) -> tuple[str, int]:
        """What is told apart: one pool's index."""
        return self.pool, self.index

    @property
    def single(self) -> bool:
        """Whether it is a single unit, in a block that no gateway has."""
        return self.index >= SINGLE


class Renew(Struct, frozen=True, gc=False):
    """A gateway wants its hold to last on. `epoch` 0: it has none that it knows of.

    `run` tells its processes apart: one that a later one has taken over from is another machine's, and owns nothing.
    """

    epoch: int
    run: str = ""


class Held(Struct, frozen=True):
    """The hold stands, for `duration` from when the gateway asked. `blocks` are all of it, whatever the gateway knew.

    `beat` counts the renewals of the epoch.
    """

    epoch: int
    beat: int
    duration: Ns
    blocks: tuple[Block, ...]


class Claim(Struct, frozen=True, gc=False):
    """A gateway wants blocks more of a pool. How long they last is the hold's to say: a claim renews nothing.

    With `units` it wants these alone, which Nexus keeps for subscribers, and gets those that no other gateway has.
    """

    epoch: int
    pool: str
    count: int = 1
    units: tuple[str, ...] = ()


class Claimed(Struct, frozen=True):
    """What it got: fewer than asked for, perhaps none, where the pool has no more."""

    blocks: tuple[Block, ...]


class GiveBack(Struct, frozen=True, gc=False):
    """A gateway has no more use for a block, and nobody lives there.

    It counts only as long as `beat` is the hold's. So it cannot come late: a gateway that never heard what became of it
    renews, and owns from then on just what it is told.
    """

    epoch: int
    beat: int
    pool: str
    index: int
    fence: int
