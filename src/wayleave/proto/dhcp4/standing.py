"""Standing replies: what the server would say to a client again, made ready, so that the data plane can say it.

A reply's options follow from the binding and from what the request lists, how much it takes and what it says it is:
its *form*. Everything else of a reply is copied from the request or is the client's address. So clients of one pool
whose requests have one form share one standing reply, and Python need not put its options together anew either.

Source: RFC 2131 4.3.1, table 3; RFC 6842 (option 61) and RFC 3046 2.2 (option 82), which are copied.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address

from msgspec import Struct

from wayleave.net.mac import Mac
from wayleave.proto.dhcp4 import server
from wayleave.proto.dhcp4.message import (
    BOOTREQUEST,
    ZERO,
    Message,
    MessageType,
    encode_options,
    encode_reply,
    room,
)
from wayleave.proto.dhcp4.server import Binding

FORM = (55, 57, 60, 77)
"""Options that a reply may depend on: the parameters asked for, the largest message, vendor and user class."""

_COPIED = (61, 82)
_KIND = 2  # where in `StandingReply.options` the octet of option 53 stands, which comes first
_NO_MAC = Mac(bytes(6))


class StandingReply(Struct, frozen=True):
    """`options` of a DHCPACK: 53, 54, 51, 58, 59, 1, then what the form asks for; without 61, 82 and the end.

    `room` is how many octets options may take in all, the end apart; `lease_s` what option 51 says.
    """

    options: bytes
    room: int
    server: IPv4Address
    lease_s: int


def form(request: Message) -> bytes | None:
    """Return a request's form, as options on the wire in the order of `FORM`; None: too long for a standing reply."""
    return _form(*map(request.options.get, FORM))


@lru_cache(maxsize=4096)
def _form(*values: bytes | None) -> bytes | None:
    """Forms are few: a hundred thousand sessions refer to the same octets."""
    there = {code: value for code, value in zip(FORM, values, strict=True) if value is not None}
    return None if any(len(value) > 255 for value in there.values()) else encode_options(there)


def standing(form: bytes, binding: Binding) -> StandingReply | None:
    """Return the reply to every request of `form`; None if not all that it asks for fits."""
    request = _request(form)
    options = encode_options(server.ack(request, binding).options)
    space = room(server.limit(request))
    if len(options) > space:
        return None
    return StandingReply(options, space, binding.server_id, binding.lease_s)


def say(reply: StandingReply, kind: MessageType, request: Message, address: IPv4Address) -> bytes | None:
    """Encode `reply` as the DHCPOFFER or DHCPACK of `address`.

    These are the octets that `server` and `message.encode` would make. `request` is of the reply's form. None where
    they would leave an option out, or split it.
    """
    field = reply.options[:_KIND] + bytes((kind,)) + reply.options[_KIND + 1 :]
    for code in _COPIED:
        value = request.options.get(code)
        if value is not None:
            if len(value) > 255:
                return None
            field += bytes((code, len(value))) + value
    if len(field) > reply.room:
        return None
    return encode_reply(request, request.ciaddr if kind is MessageType.ACK else ZERO, address, field)


@lru_cache(maxsize=1024)
def _request(form: bytes) -> Message:
    options: dict[int, bytes] = {}
    at = 0
    while at < len(form):
        start = at + 2
        at = start + form[at + 1]
        options[form[start - 2]] = form[start:at]
    return Message(BOOTREQUEST, 1, 6, 0, 0, 0, 0, ZERO, ZERO, ZERO, ZERO, _NO_MAC, b"", b"", options)
