"""Records as resources: how one is named, read, listed and changed by people who have seen it.

Who changes a record says at which revision it has seen it (`at`); 0: there is to be none yet; None: whatever it is.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from msgspec import Struct

from wayleave.nexus import model
from wayleave.nexus.refusal import Absent, Busy, Changed, Exists, Invalid
from wayleave.nexus.store.port import PAGE, Conflict, Entry, Is, Store

ATTEMPTS = 16
"""How often something is tried while others get in between: each time somebody got on."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")

Record = TypeVar("Record", bound=Struct)
T = TypeVar("T")


class Found(Struct, Generic[Record], frozen=True):
    """A record, and the revision at which it was written."""

    record: Record
    revision: int


class Listed(Struct, Generic[Record], frozen=True):
    """A page of a list as of `revision`. `after`: what to ask for the next page with; None: it is the last."""

    items: tuple[Found[Record], ...]
    revision: int
    after: str | None


def checked(what: str, name: str) -> str:
    """Return a name that can be in a key and in a path. Raises: Invalid."""
    if not _NAME.fullmatch(name):
        how = "letters, digits, `.`, `_`, `@` and `-`, 64 at most, the first a letter or a digit"
        raise Invalid(f"{what}: {name!r} is no name: write {how}")
    return name


async def find(store: Store, kind: type[Record], key: str, what: str) -> Found[Record]:
    """Read a record; `what` says what it is. Raises: Absent."""
    entry = await store.get(key)
    if entry is None:
        raise Absent(f"there is no {what}")
    return found(kind, entry)


def found(kind: type[Record], entry: Entry) -> Found[Record]:
    """Return what an entry has."""
    return Found(model.decode(kind, entry.value), entry.revision)


async def listed(
    store: Store, kind: type[Record], prefix: str, after: str = "", limit: int = PAGE, at: int = 0
) -> Listed[Record]:
    """List records behind the one named `after`. Raises: Compacted, of a revision `at` that is too old."""
    page = await store.page(prefix, f"{prefix}{after}" if after else "", limit, at)
    items = tuple(found(kind, entry) for entry in page.entries)
    more = page.entries[-1].key.removeprefix(prefix) if page.more else None
    return Listed(items, page.revision, more)


def seen(entry: Entry | None, at: int | None, what: str) -> None:
    """Refuse to change what is not as it was seen. Raises: Exists, Absent, Changed."""
    if at == 0 and entry is not None:
        raise Exists(f"there is a {what} already; to change it, say which revision of it you have seen")
    if at != 0 and entry is None:
        raise Absent(f"there is no {what}")
    if at and entry is not None and entry.revision != at:
        raise Changed(f"{what} was changed meanwhile: read it again, and change what is there now")


def expects(key: str, entry: Entry | None) -> Is:
    """Return the expectation that a key is as it was read."""
    return Is(key, entry.revision if entry is not None else 0)


async def again(work: Callable[[], Awaitable[T]], what: str) -> T:
    """Do it, as often as it takes for nobody to come in between. Raises: Busy."""
    for _ in range(ATTEMPTS):
        try:
            return await work()
        except Conflict:
            continue
    raise Busy(f"{what}: others came in between {ATTEMPTS} times; ask again")
