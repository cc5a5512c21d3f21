"""What Nexus answers, read: JSON (RFC 8259) that may be anything, and says no more than it should.

A *view* is what a gateway has to know of its subscribers: names, and values that are kept as they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from wayleave.net.errors import Malformed
from wayleave.net.printable import printable
from wayleave.proto.nexus.events import Event
from wayleave.proto.nexus.messages import Claim, Claimed, GiveBack, Held, Renew

SOURCE = "RFC 8259"
NAME_MOST = 512
"""Characters of a subscriber's name, at most: of a store's key there are no more octets."""
_SAID_MOST = 300
_DIGITS_MOST = 18

Kind = TypeVar("Kind")
Revision = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_MOST)]
Change = tuple[str, bytes | None]
"""A name, and its value from now on; None: it is gone."""


class Problem(Struct, frozen=True):
    """Why not (RFC 9457)."""

    type: str = ""
    title: str = ""
    detail: str = ""

    @property
    def name(self) -> str:
        """What programs go by."""
        return self.type.removeprefix("urn:wayleave:nexus:")

    def __str__(self) -> str:
        return printable(self.detail or self.title)[:_SAID_MOST]


class Page(Struct, frozen=True):
    """A part of a view as it was at `revision`. `after`: of whom the next part is; None: there is none."""

    entries: tuple[tuple[str, bytes], ...]
    revision: int
    after: str | None


class _Entry(Struct, frozen=True):
    name: Name
    value: Raw


class _Page(Struct, frozen=True):
    entries: tuple[_Entry, ...]
    revision: Revision
    after: Name | None = None


def answer(asked: Renew | Claim | GiveBack, body: bytes) -> Held | Claimed | None:
    """Read the answer to what was asked. Raises: Malformed."""
    match asked:
        case Renew():
            held = read(Held, body)
            if held.duration <= 0 or held.epoch <= 0:
                raise Malformed(0, "a hold that lasts no time, or has no epoch", SOURCE)
            return held
        case Claim():
            claimed = read(Claimed, body)
            if len(claimed.blocks) > asked.count or any(block.pool != asked.pool for block in claimed.blocks):
                raise Malformed(0, "other blocks than were asked for", SOURCE)
            return claimed
        case GiveBack():
            return None


def page(body: bytes) -> Page:
    """Read a page of a view. Raises: Malformed."""
    said = read(_Page, body)
    return Page(tuple((entry.name, bytes(entry.value)) for entry in said.entries), said.revision, said.after)


def told(event: Event) -> tuple[int, tuple[Change, ...]]:
    """Read an event of what has changed: the revision up to which all is told, and the changes. Raises: Malformed."""
    if not event.id.isdigit() or len(event.id) > _DIGITS_MOST:
        raise Malformed(0, f"{event.id[:40]!r} is no revision", SOURCE)
    revision = int(event.id)
    match event.kind:
        case b"changes":
            return revision, _changes(read(tuple[_Entry, ...], event.data))
        case b"alive":
            return revision, ()
    raise Malformed(0, f"an event of kind {event.kind[:40]!r}", SOURCE)


def read(kind: type[Kind], body: bytes) -> Kind:
    """Read what has to be of a kind. Raises: Malformed."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed(0, printable(str(error))[:_SAID_MOST], SOURCE) from None


def _changes(entries: Sequence[_Entry]) -> tuple[Change, ...]:
    return tuple((entry.name, None if bytes(entry.value) == b"null" else bytes(entry.value)) for entry in entries)
