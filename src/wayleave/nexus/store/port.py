"""What Nexus asks of a store: ordered keys with values, a revision that counts commits, and a commit that compares.

All uniqueness in Nexus rests on `Store.commit`: it writes all or nothing, and only while every key that it expects
something of was last written at the revision that its caller has seen. There is no other way to write, no lock and
no lease.

Revisions are the store's. A commit that changes something gets the next one. They are compared and handed back, never
counted with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

MAX_KEY = 512
"""Octets of a key, in UTF-8."""
MAX_VALUES = 1 << 20
"""Octets of all the values in a commit. etcd takes requests of 1.5 MiB, keys and framing included."""
MAX_OPERATIONS = 100
"""Expectations in a commit, and changes. etcd takes 128 of each."""
FIRST = 1
"""The revision of a store in which nothing was written yet."""
PAGE = 1000
"""Entries of a page, unless fewer are asked for."""


class Entry(Struct, frozen=True, gc=False):
    """A key, its value, and the revision of the store at which it was last written."""

    key: str
    value: bytes
    revision: int


class Is(Struct, frozen=True, gc=False):
    """An expectation: the key was last written at `revision`. 0: there is no such key."""

    key: str
    revision: int


class Put(Struct, frozen=True, gc=False):
    """Write a value, whether the key is there or not: what has to be so is expected, with `Is`."""

    key: str
    value: bytes


class Delete(Struct, frozen=True, gc=False):
    """Remove a key. It is no error that there is none."""

    key: str


class Page(Struct, frozen=True):
    """A part of a list, as of `revision`. `more`: there are others behind the last of these."""

    entries: list[Entry]
    revision: int
    more: bool


class Change(Struct, frozen=True, gc=False):
    """What a commit did to a key: its new value, None if it was deleted."""

    revision: int
    key: str
    value: bytes | None


class Conflict(Exception):
    """An expectation does not hold, and nothing was written. `keys`: those that differ."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(f"written by somebody else meanwhile: {', '.join(self.keys)}")


class Unavailable(Exception):
    """The store does not answer; the text says why and what to do.

    Of a commit it means that nobody knows: it may have happened, or may happen yet. Whoever repeats it expects what
    it expected before, and so cannot do it twice; a `Conflict` may then be with itself.
    """


class Compacted(Exception):
    """What was at the revision asked for is gone. `oldest` can be had: list anew, and watch from there."""

    def __init__(self, oldest: int) -> None:
        self.oldest = oldest
        super().__init__(f"the store has forgotten what was before revision {oldest}")


class Store(Protocol):
    """A store. All that is read is linearizable: it has every commit that was acknowledged before it was asked.

    Every method raises Unavailable, and ValueError for what no store takes: see `check`, `check_key` and `check_keys`.
    """

    async def get(self, key: str) -> Entry | None:
        """Return what is there now, None if nothing is."""
        ...

    async def read(self, keys: Sequence[str]) -> dict[str, Entry | None]:
        """Return what is there of several keys, `MAX_OPERATIONS` at most, all as of one revision."""
        ...

    async def page(self, prefix: str, after: str = "", limit: int = PAGE, at: int = 0) -> Page:
        """Return up to `limit` entries whose keys begin with `prefix`, in the order of their UTF-8, behind `after`.

        `at` is a revision: the first page says as of which it is, and those that follow ask for the same. 0: now.

        Raises: Compacted; ValueError for a revision that is still to come.
        """
        ...

    async def commit(self, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        """Make all the changes, atomically, if all the expectations hold. Returns the store's revision after it.

        It is durable then. A commit that changes nothing (no changes, or deletes of what is not there) does not
        count; it still compares.

        Raises: Conflict.
        """
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[list[Change]]:
        """Tell every change behind revision `after` to keys that begin with `prefix`, and go on for ever.

        In the order of revisions, without gap or repetition; each list has one or more whole commits. A server that
        is lost is waited for, or another asked. Changes within one commit come in no order.

        Raises: Compacted, if changes that were to be told are gone; Unavailable, if the store was closed.
        """
        ...

    async def revision(self) -> int:
        """Return the revision of the last commit that changed something."""
        ...

    async def compact(self, before: int) -> None:
        """Forget what was before a revision: pages of it and watches behind it are the first that can be had.

        No error if it is forgotten already. Raises: ValueError for a revision that is still to come.
        """
        ...

    async def close(self) -> None:
        """Let go of the store; what was not acknowledged by then is of unknown outcome."""
        ...


async def entries(store: Store, prefix: str) -> AsyncIterator[Entry]:
    """Yield all that begins with a prefix, a page at a time: each entry as it was when its page was read."""
    after, more = "", True
    while more:
        page = await store.page(prefix, after)
        for entry in page.entries:
            yield entry
            after = entry.key
        more = page.more


def check(expects: Sequence[Is], changes: Sequence[Put | Delete]) -> None:
    """Refuse what no store would take. Raises: ValueError, which says what to do."""
    if max(len(expects), len(changes)) > MAX_OPERATIONS:
        raise ValueError(
            f"{len(expects)} expectations and {len(changes)} changes in one commit: at most {MAX_OPERATIONS} of each; "
            "make it several commits"
        )
    for item in (*expects, *changes):
        check_key(item.key)
    keys = {change.key for change in changes}
    if len(keys) < len(changes):
        raise ValueError("a key is changed twice in one commit: keep its last change")
    octets = sum(len(change.value) for change in changes if isinstance(change, Put))
    if octets > MAX_VALUES:
        raise ValueError(
            f"values of {octets:,} octets in one commit: at most {MAX_VALUES:,}; keep large ones elsewhere, or in parts"
        )


def check_key(key: str) -> None:
    """Refuse what no store takes for a key. Raises: ValueError, which says what to do."""
    try:
        octets = len(key.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"the key {key!r} is no Unicode text: escape what it was made of") from error
    if not 0 < octets <= MAX_KEY or "\0" in key:
        raise ValueError(f"a key of {octets:,} octets: it has 1 to {MAX_KEY}, and no NUL; hash what is longer")


def interval(prefix: str, after: str = "") -> tuple[bytes, bytes]:
    """Return from which key on and before which key those are that begin with `prefix` and lie behind `after`.

    UTF-8 has no octet 0xff, so its last octet can be counted up; nothing reaches 0xff by itself.
    """
    begin = prefix.encode()
    end = begin[:-1] + bytes([begin[-1] + 1]) if begin else b"\xff"
    return max(begin, after.encode() + b"\0"), end


def check_keys(keys: Sequence[str]) -> None:
    """Refuse what no store reads at once. Raises: ValueError, which says what to do."""
    if len(keys) > MAX_OPERATIONS:
        raise ValueError(f"{len(keys)} keys at once: at most {MAX_OPERATIONS}; read a page, or several times")
    for key in keys:
        check_key(key)


def check_page(limit: int, at: int) -> None:
    """Refuse what makes no page. Raises: ValueError."""
    if limit < 1 or at < 0:
        raise ValueError(f"a page has at least one entry, and revisions are not negative: limit {limit}, at {at}")
