"""Server-sent events, the receiving side: octets become events.

Lines end with CR, LF or both; `retry` and unknown fields count for nothing. Source: HTML Living Standard 9.2.5, 9.2.6.
"""

from __future__ import annotations

import re

from msgspec import Struct

from wayleave.net.errors import Malformed

SOURCE = "HTML 9.2.6"
_END_OF_LINE = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(Struct, frozen=True, gc=False):
    """One of them. `id` is that of an earlier one where it has none of its own."""

    id: bytes
    kind: bytes
    data: bytes


class Events:
    """A stream from its beginning. `most`: octets of an event, at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._unfinished: list[bytes] = []
        """The octets of a line without its end."""
        self._held = 0
        self._after_cr = False
        self._begun = False
        self._id, self._kind, self._data = b"", b"", list[bytes]()

    def receive(self, octets: bytes) -> list[Event]:
        """Return what is whole now. Raises: Malformed; nothing is to be received after it."""
        if not octets:
            return []
        if self._after_cr:
            octets = octets.removeprefix(b"\n")
        self._after_cr = octets.endswith(b"\r")
        *lines, rest = _END_OF_LINE.split(octets)
        found: list[Event] = []
        for line in lines:
            self._keep(line)
            whole, self._unfinished = b"".join(self._unfinished), []
            self._take(whole, found)
        if rest:
            self._keep(rest)
        return found

    def _keep(self, part: bytes) -> None:
        self._held += len(part)
        if self._held > self._most:
            raise Malformed(self._most, f"an event of more than {self._most} octets", SOURCE)
        self._unfinished.append(part)

    def _take(self, line: bytes, found: list[Event]) -> None:
        if not self._begun:
            line, self._begun = line.removeprefix(_BYTE_ORDER_MARK), True
        if not line:
            if self._data:
                found.append(Event(self._id, self._kind, b"\n".join(self._data)))
            self._kind, self._data, self._held = b"", [], 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._data.append(value)
            case b"event":
                self._kind = value
            case b"id" if b"\0" not in value:
                self._id = value
