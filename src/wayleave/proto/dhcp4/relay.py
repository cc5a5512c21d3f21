"""Option 82, with which an access node says where a client is attached.

Sub-options other than those named here are kept as they are, in `RelayAgent.subs`.

Source: RFC 3046 2 and 3, RFC 3527 (link selection), RFC 5107 (server identifier override).
"""

from __future__ import annotations

from ipaddress import IPv4Address

from msgspec import Struct

from wayleave.net.errors import Malformed

_CIRCUIT_ID, _REMOTE_ID, _LINK_SELECTION, _SERVER_OVERRIDE = 1, 2, 5, 11


class RelayAgent(Struct, frozen=True):
    """Option 82. `circuit_id` and `remote_id` are None when absent; `subs` holds all other sub-options by number."""

    circuit_id: bytes | None = None
    remote_id: bytes | None = None
    subs: dict[int, bytes] = {}

    @property
    def link(self) -> IPv4Address | None:
        """The subnet to choose an address from, instead of giaddr's. Source: RFC 3527 3."""
        return _address(self.subs.get(_LINK_SELECTION))

    @property
    def server(self) -> IPv4Address | None:
        """What option 54 of the reply must say, so that renewals pass the relay agent. Source: RFC 5107 4."""
        return _address(self.subs.get(_SERVER_OVERRIDE))


def _address(data: bytes | None) -> IPv4Address | None:
    return None if data is None else IPv4Address(data)


def decode(data: bytes) -> RelayAgent:
    """Read the value of option 82.

    Raises: Malformed if a sub-option passes the end, an address is not four octets, or a sub-option stands there twice:
    a client that sends an option 82 of its own ahead of the access node's must not choose its line.
    Source: RFC 3046 2.0.
    """
    found: dict[int, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        code = data[at]
        if at + 1 == end:
            raise Malformed(at, f"sub-option {code} has no length", "RFC 3046 2.0")
        start = at + 2
        stop = start + data[at + 1]
        if stop > end:
            raise Malformed(at + 1, f"sub-option {code} passes the end by {stop - end}", "RFC 3046 2.0")
        if code in found:
            raise Malformed(at, f"sub-option {code} twice", "RFC 3046 2.0")
        if code in (_LINK_SELECTION, _SERVER_OVERRIDE) and stop - start != 4:
            raise Malformed(
                at + 1, f"sub-option {code} of {stop - start} octets is no address", "RFC 3527 3, RFC 5107 4"
            )
        found[code] = data[start:stop]
        at = stop
    return RelayAgent(found.pop(_CIRCUIT_ID, None), found.pop(_REMOTE_ID, None), found)


def encode(agent: RelayAgent) -> bytes:
    """Return the value of option 82: 1, 2, then `subs` in their order.

    Raises: ValueError if a sub-option is longer than 255 octets.
    Source: RFC 3046 2.0.
    """
    named = ((_CIRCUIT_ID, agent.circuit_id), (_REMOTE_ID, agent.remote_id))
    present = [(code, value) for code, value in named if value is not None]
    return b"".join(bytes((code, len(value))) + value for code, value in (*present, *agent.subs.items()))
