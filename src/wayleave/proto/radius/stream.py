"""One connection toward a RADIUS server: where packets begin in a stream, and whether the other side still lives.

A packet says how long it is. Once that makes no sense nobody can tell where the next one begins, and the connection has
to be closed. Nothing is repeated on it: what it cannot deliver it says by ending. What hangs says nothing at all, so a
connection that is silent while something was asked, or for long, is probed with a Status-Server, and closed if not even
that is answered. One is sent first of all as well: with TLS 1.3 a client learns that its certificate is refused only
once it reads.

A machine without I/O: `receive`, `sent`, `expire` in; `take` gives probes to be sent, `broken` why to close.

Source: RFC 6614 2 and 3.3, RFC 6613 2.6 (identifier 0 is the probes'), RFC 3539 3.4.1 (when to probe), RFC 5997.
Not supported: requests that a server sends over it (RFC 6614 2.5); nobody answers them.
"""

from __future__ import annotations

from collections.abc import Callable

from wayleave.net.errors import Malformed
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.radius.exchange import NEVER
from wayleave.proto.radius.packet import LEAST, MOST, Code, access_request, decode, doubt_response

IDLE = Ns(30 * SECOND)
"""Without a word, after which a connection is probed: Tw of RFC 3539, two seconds more or less."""
PROBE = 0
"""The identifier of probes."""


class Stream:
    """What one connection says. `silence`: for how long nothing may be heard while something was asked.

    `entropy(n)` returns n octets that nobody can foresee. `probes`: the server knows Status-Server.
    """

    def __init__(
        self, secret: Secret, entropy: Callable[[int], bytes], now: BootNs, silence: Ns, probes: bool = True
    ) -> None:
        self.broken = ""
        """Why the connection is to be closed, for people; empty: it is not."""
        self.vouched = 0
        """How often the other side has shown that it lives: the connection stands from the first time on."""
        self._secret, self._entropy, self._silence, self._probes = secret, entropy, silence, probes
        self._rest = bytearray()
        self._heard = now
        self._asked = NEVER
        """Since when something waits for a word."""
        self._idle = Ns(IDLE + (entropy(1)[0] - 128) * SECOND // 64)
        self._probe: bytes | None = None
        """The authenticator of the probe that is under way."""
        self._out: list[bytes] = []
        if probes:
            self._ask(now)
        else:
            self.vouched = 1

    # ---- in -----------------------------------------------------------------------------

    def receive(self, data: bytes, now: BootNs) -> list[bytes]:
        """Return the packets that are whole by now, answers to probes apart; none behind what makes no sense."""
        packets: list[bytes] = []
        if self.broken:
            return packets
        rest, at = self._rest, 0
        rest += data
        while len(rest) - at >= 4:
            length = int.from_bytes(rest[at + 2 : at + 4], "big")
            if not LEAST <= length <= MOST:
                self.broken = f"what comes is no RADIUS: a packet of {length} octets"
                break
            if len(rest) - at < length:
                break
            packet = bytes(rest[at : at + length])
            at += length
            self._heard, self._asked = now, NEVER
            if packet[1] == PROBE and self._probe is not None:
                self._answered(packet, self._probe)
            else:
                packets.append(packet)
        del rest[:at]
        return packets

    def sent(self, now: BootNs) -> None:
        """A question went out."""
        if self._asked == NEVER:
            self._asked = now

    def expire(self, now: BootNs) -> None:
        """See whether it has been silent for too long."""
        deadline = self.deadline
        if deadline == NEVER or now < deadline:
            return
        if self._asked == NEVER or (self._probes and self._probe is None):
            self._ask(now)
            return
        self.broken = f"not a word for {self._silence / SECOND:g} seconds"
        if not self.vouched:
            self.broken += ": does it know Status-Server? If not, set status_server = false"

    # ---- out ----------------------------------------------------------------------------

    def take(self) -> list[bytes]:
        """Probes to be sent."""
        out, self._out = self._out, []
        return out

    @property
    def deadline(self) -> BootNs:
        """When `expire` is worth calling; NEVER: not."""
        if self.broken:
            return NEVER
        if self._asked != NEVER:
            return after(self._asked, self._silence)
        return after(self._heard, self._idle) if self._probes else NEVER

    # ---- probes -------------------------------------------------------------------------

    def _ask(self, now: BootNs) -> None:
        self._probe, self._asked = self._entropy(16), now
        self._out.append(access_request(PROBE, self._probe, (), self._secret, Code.STATUS_SERVER))

    def _answered(self, data: bytes, authenticator: bytes) -> None:
        self._probe = None
        try:
            believed = doubt_response(data, decode(data), authenticator, self._secret, required=False) is None
        except Malformed:
            believed = False
        if believed:
            self.vouched += 1
        else:
            self.broken = "its answer to Status-Server is not believed: have both sides the same secret, `radsec`?"
