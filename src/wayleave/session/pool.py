"""Address pools: who holds which address, and who gets the next one.

A pool of the gateway's own has all of its network. Of one that gateways share, it has blocks (`gain`, `lose`), and
gives out what is in these.

In memory only; what survives is the lease record on disk (`hold` at start). Who holds an address is one session; what
that is known as lasts longer, and may be the same of two at once. A client gets back what it had if nobody has taken it
since; else what it asks for; else an address never used; else the one free longest. The pool is used
to its last address.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict, deque
from collections.abc import Hashable
from ipaddress import IPv4Address, IPv4Network

from wayleave.net.units import BootNs
from wayleave.session.model import Subnet
from wayleave.session.refusal import Reason, Refusal


class Exhaustion(Exception):
    """No address can be given; `refusal` and the text say why."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.refusal = Refusal(reason, why)


class Pool:
    """The addresses of one subnet. A holder is whatever identifies the client, compared and hashed.

    `known_as` is what it will be known by when it comes back, where that is something else.
    """

    def __init__(
        self,
        name: str,
        subnet: Subnet,
        excluded: frozenset[IPv4Address] = frozenset(),
        reserved: frozenset[IPv4Address] = frozenset(),
        shared: bool = False,
    ) -> None:
        """`shared`: it has no address but those of the blocks that it gains.

        `excluded` and `reserved` addresses are only given out as static ones: the former to whom authorization names,
        the latter to whom the pool's own reservations name.
        """
        self.name = name
        self.subnet = subnet
        network = subnet.network
        self._first, self._last = int(network.network_address), int(network.broadcast_address)
        if network.prefixlen < 31:
            self._first, self._last = self._first + 1, self._last - 1
        self._gateway = int(subnet.gateway)
        self._excluded = {int(address) for address in excluded}
        self._reserved = {int(address) for address in reserved}
        self._spans: list[tuple[int, int]] = []  # first and last of what is its own, in order
        self._unused: deque[tuple[int, int]] = deque()  # parts of them that nobody had yet
        self._size = 0
        self._kept = sorted(self._excluded | {self._gateway})
        self._held: dict[int, Hashable] = {}
        self._known_as: dict[int, Hashable] = {}  # of those held, where it is not the holder
        self._free: OrderedDict[int, None] = OrderedDict()  # each once, the one free longest first
        self._former: dict[int, Hashable] = {}
        self._had: dict[Hashable, int] = {}
        self._quarantine: deque[tuple[BootNs, int]] = deque()
        self._resting: set[int] = set()
        if not shared:
            self._gain(self._first, self._last)

    @property
    def network(self) -> IPv4Network:
        return self.subnet.network

    @property
    def held(self) -> int:
        """How many addresses are offered or leased."""
        return len(self._held)

    @property
    def quarantined(self) -> int:
        """How many rest because somebody else was found on them."""
        return len(self._resting)

    @property
    def size(self) -> int:
        """How many addresses there are to give out, reservations included."""
        return self._size

    @property
    def taken(self) -> int:
        """How many of those for whoever comes are offered or leased."""
        return len(self._held.keys() - self._reserved) if self._reserved else len(self._held)

    @property
    def spare(self) -> int:
        """How many more could be given to whoever comes."""
        kept = sum(map(self._inside, self._reserved - self._excluded))
        return self._size - kept - self.taken - len(self._resting)

    def gives(self, address: IPv4Address) -> bool:
        """Whether `address` is one of those for whoever comes."""
        number = int(address)
        inside = self._inside(number) and number != self._gateway
        return inside and number not in self._excluded and number not in self._reserved

    def has(self, address: IPv4Address) -> bool:
        """Whether `address` is in what is its own; it may be anybody's there."""
        return self._inside(int(address))

    # ---- blocks -------------------------------------------------------------------------

    def gain(self, first: IPv4Address, last: IPv4Address) -> None:
        """Have the addresses from `first` to `last` for its own, but those that no client can use. Once is enough."""
        self._gain(*self._usable(first, last))

    def lose(self, first: IPv4Address, last: IPv4Address) -> None:
        """Have a block no longer, and remember nothing of it but who is still there: that is the caller's to end."""
        low, high = self._usable(first, last)
        if self._has_span(low, high):
            del self._spans[bisect_left(self._spans, (low, high))]
            self._size -= self._givable(low, high)
            self._unused = deque(part for part in self._unused if not low <= part[0] <= high)
            for number in range(low, high + 1):
                self._free.pop(number, None)
                former = self._former.pop(number, None)
                if self._had.get(former) == number:
                    del self._had[former]

    def vacant(self, first: IPv4Address, last: IPv4Address) -> bool:
        """Whether nobody holds anything of a block, and nothing of it rests."""
        return not any(number in self._held or number in self._resting for number in range(int(first), int(last) + 1))

    def _usable(self, first: IPv4Address, last: IPv4Address) -> tuple[int, int]:
        return max(int(first), self._first), min(int(last), self._last)

    def _gain(self, low: int, high: int) -> None:
        if not self._has_span(low, high):
            insort(self._spans, (low, high))
            self._unused.append((low, high))
            self._size += self._givable(low, high)

    def _has_span(self, low: int, high: int) -> bool:
        at = bisect_left(self._spans, (low, high))
        return at < len(self._spans) and self._spans[at] == (low, high)

    def _givable(self, low: int, high: int) -> int:
        """How many of these could be anybody's."""
        return high - low + 1 - (bisect_right(self._kept, high) - bisect_left(self._kept, low))

    def _inside(self, number: int) -> bool:
        at = bisect_right(self._spans, number, key=_first_of) - 1
        return at >= 0 and number <= self._spans[at][1]

    # ---- who has what -------------------------------------------------------------------

    def take_over(self, before: Pool) -> None:
        """Remember of the addresses here what the pool of an earlier configuration does: who has and had them."""
        first, last = self._first, self._last
        self._held |= {number: holder for number, holder in before._held.items() if first <= number <= last}
        self._known_as |= {number: known for number, known in before._known_as.items() if first <= number <= last}
        self._former |= {number: holder for number, holder in before._former.items() if first <= number <= last}
        self._had |= {holder: number for holder, number in before._had.items() if first <= number <= last}
        self._resting |= {number for number in before._resting if first <= number <= last}
        ends = sorted([*self._quarantine, *(end for end in before._quarantine if first <= end[1] <= last)])
        self._quarantine = deque(ends)
        unused = [*before._free, *before._former]  # of these some were excluded or reserved, and need not be any more
        taken = self._held.keys() | self._resting
        self._free |= {number: None for number in unused if first <= number <= last and number not in taken}

    def holder(self, address: IPv4Address) -> Hashable | None:
        return self._held.get(int(address))

    def allocate(
        self,
        holder: Hashable,
        wanted: IPv4Address | None,
        now: BootNs,
        *,
        exact: bool = False,
        static: bool = False,
        known_as: Hashable = None,
    ) -> IPv4Address:
        """Hold an address for `holder`.

        With `exact` only `wanted` will do; `static` says that authorization gave it, so that exclusions and
        reservations do not stand in its way.

        Raises: Exhaustion, with the reason.
        """
        known_as = holder if known_as is None else known_as
        return self._give(self._choose(holder, wanted, now, exact, static, known_as), holder, known_as)

    def _choose(
        self, holder: Hashable, wanted: IPv4Address | None, now: BootNs, exact: bool, static: bool, known_as: Hashable
    ) -> int:
        self._end_quarantine(now)
        if wanted is not None and (exact or static):
            return self._particular(int(wanted), holder, static)
        had = self._had.get(known_as)
        for candidate in (had, int(wanted) if wanted is not None else None):
            if candidate is not None and self._why_not(candidate, holder, static=False) is None:
                return candidate
        fresh = self._never_held(holder)
        if fresh is not None:
            return fresh
        while self._free:
            candidate, _ = self._free.popitem(last=False)
            if self._why_not(candidate, holder, static=False) is None:
                return candidate
        raise Exhaustion(
            Reason.POOL_EMPTY, f"pool {self.name} is used up: {self.held} of {self.size} addresses are held"
        )

    def _never_held(self, holder: Hashable) -> int | None:
        """Return an address that nobody had yet."""
        while self._unused:
            low, high = self._unused.popleft()
            for candidate in range(low, high + 1):
                if candidate in self._held or candidate in self._former:
                    continue  # after a restart, at once past a hundred thousand
                if self._why_not(candidate, holder, static=False) is None:
                    if candidate < high:
                        self._unused.appendleft((candidate + 1, high))
                    return candidate
        return None

    def hold(self, address: IPv4Address, holder: Hashable, known_as: Hashable = None) -> None:
        """Take up what the disk says. Raises: Exhaustion if somebody else holds it."""
        other = self._held.get(int(address))
        if other is not None and other != holder:
            raise Exhaustion(Reason.ADDRESS_NOT_FREE, f"{address} is held by {other}")
        self._give(int(address), holder, holder if known_as is None else known_as)

    def free(self, address: IPv4Address, quarantine_until: BootNs | None = None) -> None:
        """Take an address back; with `quarantine_until` it rests first, and its holder has no claim to it."""
        number = int(address)
        holder = self._held.pop(number, None)
        if holder is None:
            return
        holder = self._known_as.pop(number, holder)
        if quarantine_until is not None:
            self._quarantine.append((quarantine_until, number))
            self._resting.add(number)
            return
        self._former[number] = holder
        self._had[holder] = number
        self._free[number] = None

    def _give(self, number: int, holder: Hashable, known_as: Hashable) -> IPv4Address:
        former = self._former.pop(number, None)
        if former is not None and self._had.get(former) == number:
            del self._had[former]
        self._held[number] = holder
        if known_as != holder:
            self._known_as[number] = known_as
        self._free.pop(number, None)
        return IPv4Address(number)

    def _particular(self, number: int, holder: Hashable, static: bool) -> int:
        why_not = self._why_not(number, holder, static)
        if why_not is not None:
            raise Exhaustion(Reason.ADDRESS_NOT_FREE, f"{IPv4Address(number)} {why_not}")
        return number

    def _why_not(self, number: int, holder: Hashable, static: bool) -> str | None:
        if not self._first <= number <= self._last:
            return f"is outside pool {self.name} ({self.network})"
        if not self._inside(number):
            return "is in no block of this gateway's"
        if number == self._gateway:
            return "is the gateway's"
        other = self._held.get(number)
        if other is not None and other != holder:
            return "is held by another client"
        if number in self._resting:
            return "rests, since a client found it in use"
        if not static and number in self._excluded:
            return "is excluded"
        if not static and number in self._reserved:
            return "is reserved"
        return None

    def _end_quarantine(self, now: BootNs) -> None:
        while self._quarantine and self._quarantine[0][0] <= now:
            _, number = self._quarantine.popleft()
            self._resting.discard(number)
            self._free[number] = None
            self._former.setdefault(number, None)


def _first_of(span: tuple[int, int]) -> int:
    return span[0]
