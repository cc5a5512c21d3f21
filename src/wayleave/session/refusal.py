"""Why a client gets nothing, or not what it asks for: the one place where a reason is added.

Programs go by the reason: counters, journals and `bng diagnose`. The words beside it are for people, and may change.
"""

from __future__ import annotations

from enum import IntEnum, auto

from msgspec import Struct


class Reason(IntEnum):
    """The name is the counter's (`spoken`); the number stands in journals, and those end with the process."""

    NONE = 0
    """Nothing was refused."""
    PORT_NOT_CONFIGURED = auto()
    UNKNOWN_CLIENT = auto()
    BLOCKED = auto()
    ENTRY_UNUSABLE = auto()
    """What is said of it makes no sense under this configuration."""
    WRONG_PASSWORD = auto()
    """It says who it is, and does not prove it."""
    NO_POOL = auto()
    """It is granted a pool that is not there, or none."""
    OTHER_TENANT = auto()
    LINE_FULL = auto()
    TABLE_FULL = auto()
    POOL_EMPTY = auto()
    NO_BLOCK = auto()
    """The pool is shared, and nothing of it is the gateway's at the moment."""
    ADDRESS_NOT_FREE = auto()
    """Somebody else's, the gateway's, kept back, or not of the pool."""
    ADDRESS_NOT_ITS_OWN = auto()
    """It was given, offered or promised another one."""
    STORE_FAILED = auto()
    NO_USERNAME = auto()
    """Its line has nothing of what makes its User-Name."""
    CREDENTIALS_UNUSABLE = auto()
    """It says who it is in a way that nobody can check: a name that is no text, or too long; or by another method."""
    RADIUS_DECIDES = auto()
    """The configuration decided about it, and leaves that to servers by now."""
    RADIUS_REJECTED = auto()
    RADIUS_CHALLENGED = auto()
    RADIUS_UNUSABLE = auto()
    """A server grants what the gateway cannot do."""
    RADIUS_UNREACHABLE = auto()
    RADIUS_DOUBTED = auto()
    """Servers answer with another secret."""
    RADIUS_UNSIGNED = auto()
    """Servers answer without a Message-Authenticator."""
    RADIUS_BUSY = auto()
    """Too many clients wait for an answer."""
    SUBSCRIBER_FULL = auto()
    """The subscriber has as many sessions as it may have."""
    PORT_FULL = auto()
    """The port has as many sessions of PPPoE as it may have."""
    NO_AGREEMENT = auto()
    """PPP came to nothing before it said who it is."""
    MAC_ON_ANOTHER_CIRCUIT = auto()
    ASKED_AGAIN_MEANWHILE = auto()
    DECLINES_TOO_OFTEN = auto()

    @property
    def spoken(self) -> str:
        """As counters have it."""
        return self.name.lower().replace("_", "-")


class Refusal(Struct, frozen=True, gc=False):
    """A reason, and what there is to say about it."""

    reason: Reason
    why: str


PASSING = frozenset(
    (
        Reason.NO_BLOCK,
        Reason.RADIUS_UNREACHABLE,
        Reason.RADIUS_DOUBTED,
        Reason.RADIUS_UNSIGNED,
        Reason.RADIUS_BUSY,
    )
)
"""A client that is refused for one of these hears nothing: it may be right about its address, and asks again."""
