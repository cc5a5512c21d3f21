"""What a PPP session tells whoever runs it: packets to send, what happened, and why it is over."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from wayleave.proto.ppp.auth import Authentication, Credentials
from wayleave.proto.ppp.ipcp import Addresses
from wayleave.proto.ppp.ipv6cp import Identifiers
from wayleave.proto.ppp.packet import Protocol


class Reason(StrEnum):
    """Why a session is down; the value is for logs and counters."""

    CLOSED = "closed"
    PEER_TERMINATED = "peer-terminated"
    LINK_FAILED = "link-failed"
    """LCP came to nothing: no answer, no agreement, or no authentication that both know."""
    LOOPED = "looped"
    SILENT = "silent"
    NOT_AUTHENTICATED = "not-authenticated"
    """The peer never said who it is."""
    REFUSED = "refused"
    NO_NETWORK = "no-network"
    """No network protocol came up, or none is left."""
    HALF_OPEN = "half-open"
    """A network protocol whose requests we acknowledged never acknowledged ours: the peer may believe that it is up."""


class Drop(StrEnum):
    """Why a packet was dropped; the value is the name of its counter."""

    MALFORMED = "malformed"
    UNEXPECTED = "unexpected"


class Send(Struct, frozen=True, gc=False):
    """A packet for the peer."""

    protocol: int
    information: bytes


class Up(Struct, frozen=True, gc=False):
    """The link is up. `peer_mru`: octets that the peer takes; `method` is how it will say who it is."""

    peer_mru: int
    method: Authentication | None


class Authenticate(Struct, frozen=True, gc=False):
    """Verify these, and `decide` about this attempt. None: no proof is demanded, but somebody has to grant."""

    attempt: int
    credentials: Credentials | None


class Judged(Struct, frozen=True, gc=False):
    """The peer gave its verdict on our proof. `message` is its words; of MS-CHAPv2 what should prove itself (`S=…`).

    An MS-CHAPv2 success without that proof is believed no more than a failure, and not `accepted`.
    """

    accepted: bool
    message: bytes


class NetworkUp(Struct, frozen=True, gc=False):
    """A network protocol is up, with what was agreed."""

    protocol: Protocol
    agreed: Addresses | Identifiers


class NetworkDown(Struct, frozen=True, gc=False):
    """A network protocol that was up is not any more."""

    protocol: Protocol


class Restarted(Struct, frozen=True, gc=False):
    """The peer began anew: what was decided about it is void."""


class Dropped(Struct, frozen=True, gc=False):
    """A packet that meant nothing, to be counted."""

    reason: Drop


class Down(Struct, frozen=True, gc=False):
    """The session is over."""

    reason: Reason


Output = Send | Up | Authenticate | Judged | NetworkUp | NetworkDown | Restarted | Dropped | Down
