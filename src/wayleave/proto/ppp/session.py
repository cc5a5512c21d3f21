"""One PPP session: the link, then who it is, then the networks; each begins when the one below it is there.

    open → LCP → Up → PAP or CHAP → Authenticate → (decide) → IPCP, IPV6CP … → NetworkUp … → NetworkDown … → Down

It is symmetrical, as PPP is: who has `demands` asks the other to prove who it is, who has an `Account` proves it. The
gateway is told the verdict by `decide`, with the network protocols that were granted; a client brings its own, and
hears the verdict as Judged.

Where no proof is demanded, the peer does not know that somebody has to grant: what it asks meanwhile is kept.

Every call returns, in order, what to send and what happened. If the peer negotiates LCP anew, what is above is torn
down and begins anew: NetworkDown, Restarted, Up, Authenticate with another `attempt`. After Down nothing comes any
more: the caller ends the carrier (PADT). An idle session has one timer, its `deadline`.

Source: RFC 1661 3.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from msgspec import Struct, field

from wayleave.net.errors import Malformed
from wayleave.net.units import BootNs
from wayleave.proto.ppp.account import Account, ChapPeer, PapPeer, Peer
from wayleave.proto.ppp.auth import (
    CHALLENGE,
    Authentication,
    Authenticator,
    ChapAuthenticator,
    ChapCode,
    Credentials,
    PapAuthenticator,
    PapCode,
    Patience,
    Stage,
)
from wayleave.proto.ppp.automaton import NEVER, Layer, Refused, State, Timers
from wayleave.proto.ppp.automaton import Output as Said
from wayleave.proto.ppp.ipcp import Addresses, IpcpClient, IpcpServer
from wayleave.proto.ppp.ipv6cp import Identifiers, Ipv6cpClient, Ipv6cpServer
from wayleave.proto.ppp.lcp import Entropy, Keepalive, Lcp
from wayleave.proto.ppp.news import (
    Authenticate,
    Down,
    Drop,
    Dropped,
    Judged,
    NetworkDown,
    NetworkUp,
    Output,
    Reason,
    Restarted,
    Send,
    Up,
)
from wayleave.proto.ppp.packet import Protocol, decode

Network = IpcpServer | IpcpClient | Ipv6cpServer | Ipv6cpClient
"""A network protocol of a session."""

_NETWORKS = (Protocol.IPCP, Protocol.IPV6CP)
_DATA = (Protocol.IPV4, Protocol.IPV6)


class Phase(Enum):
    """Source: RFC 1661 3.2."""

    DEAD = "dead"
    ESTABLISH = "establish"
    AUTHENTICATE = "authenticate"
    NETWORK = "network"
    TERMINATE = "terminate"


class Settings(Struct, frozen=True, kw_only=True):
    """What many sessions share. `name` is what the authenticator calls itself in a challenge."""

    name: bytes = b""
    demands: tuple[Authentication, ...] = ()
    timers: Timers = Timers()
    patience: Patience = Patience()
    keepalive: Keepalive = Keepalive()


class Client(Struct, frozen=True):
    """What a client brings along: who it is, and the network protocols it wants, made anew for each link."""

    account: Account
    networks: Callable[[], tuple[Network, ...]]


class Kept(Struct, frozen=True, gc=False):
    """What has to be kept of a gateway's session for another process to go on with it: see `kept` and `resume`."""

    magic: bytes
    peer_mru: int
    addresses: Addresses | None
    identifiers: Identifiers | None


class Session(Struct, gc=False):
    """One session. `mru`: octets that the carrier takes; `client` is None on the gateway."""

    settings: Settings
    entropy: Entropy
    mru: int
    client: Client | None = None
    phase: Phase = Phase.DEAD
    link: Lcp | None = None
    networks: tuple[Network, ...] = ()
    _authenticator: Authenticator | None = None
    _peer: Peer | None = None
    _attempt: int = 0
    _granted: bool = False
    _early: dict[int, bytes] = field(default_factory=dict)
    """What the peer asked of a network protocol while nobody but us knew that it has to wait."""
    _why: Reason | None = None

    @property
    def deadline(self) -> BootNs:
        """When `expire` wants to be called; NEVER: not at all."""
        first = NEVER
        for part in (self.link, self._authenticator, self._peer, *self.networks):
            if part is not None and part.deadline:
                first = min(first, part.deadline) if first else part.deadline
        return first

    # ---- what happens -------------------------------------------------------------------

    def open(self, now: BootNs) -> list[Output]:
        """Begin, over a carrier that is there."""
        self.phase = Phase.ESTABLISH
        self.link = self._new_link()
        return self._heed_link(self.link.open(now), now)

    def kept(self) -> Kept | None:
        """Return what `resume` needs, if the session is up."""
        if self.link is None or self.phase is not Phase.NETWORK:
            return None
        agreed = [network.agreed() for network in self.networks if network.state is State.OPENED]
        return Kept(
            self.link.magic,
            self.link.peer_mru,
            next((said for said in agreed if isinstance(said, Addresses)), None),
            next((said for said in agreed if isinstance(said, Identifiers)), None),
        )

    def resume(self, kept: Kept, now: BootNs) -> None:
        """Go on with a session that another process had: the peer notices nothing, and nothing is said to it."""
        timers = self.settings.timers
        networks: list[Network] = []
        if (ip4 := kept.addresses) is not None:
            networks.append(IpcpServer(timers, own=ip4.own, peer=ip4.peer, dns=ip4.dns))
        if (ip6 := kept.identifiers) is not None:
            networks.append(Ipv6cpServer(timers, own=ip6.own, suggested=ip6.peer))
        for network in networks:
            network.resume()
        self.networks = tuple(networks)
        self.link = self._new_link()
        self.link.go_on(kept.magic, kept.peer_mru, now)
        self.phase = Phase.NETWORK

    def close(self, now: BootNs, reason: Reason = Reason.CLOSED) -> list[Output]:
        """End in order; Down follows within some seconds."""
        if self.link is None:
            return []
        self._why = self._why or reason
        self.phase = Phase.TERMINATE
        return self._heed_link(self.link.close(now), now)

    def decide(
        self, attempt: int, accepted: bool, message: bytes, networks: tuple[Network, ...], now: BootNs
    ) -> list[Output]:
        """Take the verdict on an Authenticate, whenever it comes: one on an earlier attempt is void.

        `message` is for the peer: of MS-CHAPv2 it is what the verifier computed (`S=…`), without which no client
        believes a success. `networks` are what was granted, not opened yet.
        """
        if self.phase is not Phase.AUTHENTICATE or attempt != self._attempt:
            return []
        output: list[Output] = []
        if self._authenticator is not None and self._authenticator.stage is Stage.ASKED:
            output += self._sent(self._authenticator.PROTOCOL, self._authenticator.decide(accepted, message, now))
        if not accepted:
            return output + self.close(now, Reason.REFUSED)
        self._granted, self.networks = True, networks
        return output + self._proceed(now)

    def heard(self, now: BootNs) -> None:
        """Somebody else, the kernel as a rule, heard the peer at `now`: it lives."""
        if self.link is not None:
            self.link.heard = max(self.link.heard, now)

    def expire(self, now: BootNs) -> list[Output]:
        """Do what is due."""
        output: list[Output] = []
        if self.link is not None:
            output += self._heed_link(self.link.expire(now), now)
        if self._authenticator is not None:
            output += self._sent(self._authenticator.PROTOCOL, self._authenticator.expire(now))
        if self._peer is not None:
            output += self._sent(self._peer.PROTOCOL, self._peer.expire(now))
        for network in self.networks:
            unsure = network.state is State.ACK_SENT
            said = network.expire(now)
            if unsure and Layer.FINISHED in said:
                return output + self.close(now, Reason.HALF_OPEN)
            output += self._heed_network(network, said, now)
        return output + self._proceed(now)

    def receive(self, protocol: int, information: bytes, now: BootNs) -> list[Output]:
        """Take a packet of the peer's, whatever it is."""
        link = self.link
        if link is None:
            return [Dropped(Drop.UNEXPECTED)]
        link.heard = max(link.heard, now)
        try:
            if protocol == Protocol.LCP:
                return self._heed_link(link.receive(information, now), now)
            if protocol in (Protocol.PAP, Protocol.CHAP):
                return self._receive_proof(protocol, information, now)
            for network in self.networks:
                if protocol == network.PROTOCOL:
                    said = network.receive(information, now)
                    if self._authenticator is not None:
                        self._authenticator.rest()
                    return self._heed_network(network, said, now)
        except Malformed:
            return [Dropped(Drop.MALFORMED)]
        if self.phase is Phase.AUTHENTICATE and link.method is None and protocol in _NETWORKS:
            self._early[protocol] = information
            return []
        if self.phase is not Phase.NETWORK or protocol in _DATA:
            return [Dropped(Drop.UNEXPECTED)]
        return [Send(Protocol.LCP, link.reject(protocol, information))]

    # ---- the link -----------------------------------------------------------------------

    def _new_link(self) -> Lcp:
        return Lcp(
            self.settings.timers,
            entropy=self.entropy,
            mru=self.mru,
            keepalive=self.settings.keepalive,
            demands=self.settings.demands,
            accepts=self.client.account.accepts if self.client else (),
        )

    def _heed_link(self, said: list[Said], now: BootNs) -> list[Output]:
        """Do what LCP says."""
        output: list[Output] = []
        for word in said:
            if isinstance(word, bytes):
                output.append(Send(Protocol.LCP, word))
            elif isinstance(word, Refused):
                output += self._refused(word.protocol, now)
            elif word is Layer.UP:
                output += self._link_up(now)
            elif word is Layer.DOWN:
                output += self._link_down()
            else:
                output += self._end()
        if self.link is not None and self.phase is Phase.TERMINATE and self.link.state is State.STOPPING:
            # The peer took its leave and was answered: what it may repeat is answered by the carrier's end.
            self._why = self._why or Reason.PEER_TERMINATED
            output += self._end()
        return output

    def _link_up(self, now: BootNs) -> list[Output]:
        """Begin to ask who it is, and to say who we are."""
        link = self.link
        assert link is not None
        self.phase = Phase.AUTHENTICATE
        output: list[Output] = [Up(link.peer_mru, link.method)]
        if link.method is not None:
            self._authenticator = self._new_authenticator(link.method)
            output += self._sent(self._authenticator.PROTOCOL, self._authenticator.begin(now))
        elif self.client is None:
            output.append(self._ask(None))
        else:
            self._granted = True
        if self.client is not None and link.owed is not None:
            self._peer = self._new_peer(self.client.account, link.owed)
            output += self._sent(self._peer.PROTOCOL, self._peer.begin(now))
        return output + self._proceed(now)

    def _link_down(self) -> list[Output]:
        """Tear down what is above: LCP begins anew, or ends."""
        output = self._tear_down()
        if self.link is not None and self.link.state >= State.REQ_SENT:
            self.phase = Phase.ESTABLISH
            output.append(Restarted())
        else:
            self.phase = Phase.TERMINATE
        return output

    def _tear_down(self) -> list[Output]:
        output: list[Output] = [
            NetworkDown(network.PROTOCOL) for network in self.networks if network.state is State.OPENED
        ]
        self.networks, self._authenticator, self._peer = (), None, None
        self._granted, self._early = False, {}
        self._attempt += 1
        return output

    def _end(self) -> list[Output]:
        link = self.link
        output = self._tear_down()
        self.phase, self.link = Phase.DEAD, None
        if link is not None and link.silent:
            self._why = Reason.SILENT
        elif link is not None and link.looped:
            self._why = Reason.LOOPED
        return [*output, Down(self._why or Reason.LINK_FAILED)]

    # ---- who it is ----------------------------------------------------------------------

    def _new_authenticator(self, method: Authentication) -> Authenticator:
        patience = self.settings.patience
        if method is Authentication.PAP:
            return PapAuthenticator(patience)
        return ChapAuthenticator(
            patience,
            name=self.settings.name,
            challenge=self.entropy(CHALLENGE),
            identifier=self.entropy(1)[0],
            microsoft=method is Authentication.MS_CHAP_2,
        )

    def _new_peer(self, account: Account, method: Authentication) -> Peer:
        patience = self.settings.patience
        if method is Authentication.PAP:
            return PapPeer(account, patience)
        return ChapPeer(account, patience, method is Authentication.MS_CHAP_2, self.entropy)

    def _ask(self, credentials: Credentials | None) -> Authenticate:
        self._attempt += 1
        return Authenticate(self._attempt, credentials)

    def _receive_proof(self, protocol: int, information: bytes, now: BootNs) -> list[Output]:
        """Take a packet of PAP or CHAP: a peer's words for the authenticator, or an authenticator's for our peer."""
        packet = decode(information)
        spoken_by_peer = packet.code == (PapCode.REQUEST if protocol == Protocol.PAP else ChapCode.RESPONSE)
        output: list[Output] = []
        if spoken_by_peer and self._authenticator is not None and protocol == self._authenticator.PROTOCOL:
            for word in self._authenticator.receive(packet):
                output.append(Send(protocol, word) if isinstance(word, bytes) else self._ask(word))
        elif not spoken_by_peer and self._peer is not None and protocol == self._peer.PROTOCOL:
            waiting = self._peer.stage is Stage.WAITING
            output += self._sent(protocol, self._peer.receive(packet))
            if waiting and self._peer.stage is not Stage.WAITING:
                output.append(Judged(self._peer.stage is Stage.ACCEPTED, self._peer.message))
        else:
            return [Dropped(Drop.UNEXPECTED)]
        return output + self._proceed(now)

    def _proceed(self, now: BootNs) -> list[Output]:
        """Go on to the networks once both sides are satisfied, or end."""
        if self.phase is not Phase.AUTHENTICATE:
            return []
        ours, theirs = self._peer, self._authenticator
        if (ours is not None and ours.stage is Stage.SILENT) or (theirs is not None and theirs.stage is Stage.SILENT):
            return self.close(now, Reason.NOT_AUTHENTICATED)
        if ours is not None and ours.stage is Stage.REFUSED:
            return self.close(now, Reason.REFUSED)
        if not self._granted or (ours is not None and ours.stage is not Stage.ACCEPTED):
            return []
        self.phase = Phase.NETWORK
        if self.client is not None:
            self.networks = self.client.networks()
        if not self.networks:
            return self.close(now, Reason.NO_NETWORK)
        output: list[Output] = []
        for network in self.networks:
            output += self._heed_network(network, network.open(now), now)
        early, self._early = self._early, {}
        for protocol, information in early.items():
            output += self.receive(protocol, information, now)
        return output

    # ---- the networks -------------------------------------------------------------------

    def _heed_network(self, network: Network, said: list[Said], now: BootNs) -> list[Output]:
        """Do what a network protocol says. When the last one is finished, so is the session."""
        output: list[Output] = []
        for word in said:
            if isinstance(word, bytes):
                output.append(Send(network.PROTOCOL, word))
            elif word is Layer.UP:
                output.append(NetworkUp(network.PROTOCOL, network.agreed()))
            elif word is Layer.DOWN:
                output.append(NetworkDown(network.PROTOCOL))
            elif all(other.state <= State.STOPPED for other in self.networks):
                output += self.close(now, Reason.NO_NETWORK)
        return output

    def _refused(self, protocol: int, now: BootNs) -> list[Output]:
        """The peer does not know a protocol that we speak."""
        for network in self.networks:
            if protocol == network.PROTOCOL:
                return self._heed_network(network, network.refuse(now), now)
        if self._authenticator is not None and protocol == self._authenticator.PROTOCOL:
            return self.close(now, Reason.NOT_AUTHENTICATED)
        return []

    @staticmethod
    def _sent(protocol: int, packets: list[bytes]) -> list[Output]:
        return [Send(protocol, packet) for packet in packets]
