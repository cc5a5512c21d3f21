"""Two PPP sessions on a carrier that loses, repeats, delays and reorders, in virtual time."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random

from wayleave.lab.mschap import MsChap2 as Computer
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.account import Account
from wayleave.proto.ppp.auth import Authentication, ChapMd5, Credentials, MsChap2, Pap
from wayleave.proto.ppp.automaton import NEVER, Timers
from wayleave.proto.ppp.ipcp import IpcpClient, IpcpServer
from wayleave.proto.ppp.ipv6cp import Ipv6cpClient, Ipv6cpServer
from wayleave.proto.ppp.lcp import Keepalive
from wayleave.proto.ppp.news import Authenticate, Down, Dropped, NetworkUp, Output, Send
from wayleave.proto.ppp.session import Client, Network, Phase, Session, Settings

START = BootNs(1000 * SECOND)
MILLISECOND = SECOND // 1000
TIMERS = Timers()
OWN, PEER = IPv4Address("100.64.0.1"), IPv4Address("100.64.0.2")
DNS = (IPv4Address("198.51.100.53"), IPv4Address("198.51.100.54"))
GATEWAY_ID, CLIENT_ID = bytes.fromhex("0000000000000001"), bytes.fromhex("02aabbfffeccdd01")
COMPUTER = Computer()
NAME, PASSWORD = b"alice@example.net", b"open sesame"


def granted() -> tuple[Network, ...]:
    """What the gateway grants."""
    return (
        IpcpServer(TIMERS, own=OWN, peer=PEER, dns=DNS),
        Ipv6cpServer(TIMERS, own=GATEWAY_ID, suggested=bytes.fromhex("00000000000000c0")),
    )


def wanted() -> tuple[Network, ...]:
    """What a client wants."""
    return IpcpClient(TIMERS), Ipv6cpClient(TIMERS, own=CLIENT_ID)


def gateway_settings(*demands: Authentication, **how: object) -> Settings:
    return Settings(name=b"bng", demands=demands, **how)  # type: ignore[arg-type]


def account(*accepts: Authentication, password: bytes = PASSWORD, **how: object) -> Account:
    accepts = accepts or tuple(Authentication)
    return Account(name=NAME, password=password, accepts=accepts, ms_chap=COMPUTER, **how)  # type: ignore[arg-type]


def genuine(credentials: Credentials | None) -> tuple[bool, bytes]:
    """Verify as RADIUS would."""
    match credentials:
        case Pap(name, password):
            return (name, password) == (NAME, PASSWORD), b"pap"
        case ChapMd5(name, identifier, challenge, response):
            right = hashlib.md5(bytes((identifier,)) + PASSWORD + challenge).digest()
            return (name, response) == (NAME, right), b"chap"
        case MsChap2(name, _, challenge, peer_challenge, nt_response):
            right = COMPUTER.response(NAME, PASSWORD, challenge, peer_challenge)
            proof = COMPUTER.proof(NAME, PASSWORD, challenge, peer_challenge, right)
            return (name, nt_response) == (NAME, right), proof if nt_response == right else b""
    return True, b""


Verify = Callable[[Credentials | None], tuple[bool, bytes]]


class Wire:
    """`gateway` and `client`, and what lies between. `lose` and `repeat` are chances, `jitter` reorders.

    `filter` sees every packet as (sent by the gateway, protocol, information) and says whether it passes.
    """

    def __init__(
        self,
        settings: Settings,
        who: Account | None = None,
        seed: int = 0,
        lose: float = 0,
        repeat: float = 0,
        jitter: int = 0,
        verify: Verify = genuine,
        slow: int = 0,
        grant: Callable[[], tuple[Network, ...]] = granted,
        networks: Callable[[], tuple[Network, ...]] = wanted,
        client_settings: Settings | None = None,
        mru: int = 1492,
    ) -> None:
        self.random = Random(seed)
        self.now = START
        self.lose, self.repeat, self.jitter = lose, repeat, jitter
        self.verify, self.slow, self.grant = verify, slow, grant
        entropy = self.random.randbytes
        self.gateway = Session(settings, entropy, mru)
        side = Client(who or account(), networks)
        self.client = Session(client_settings or Settings(keepalive=Keepalive(every=Ns(0))), entropy, mru, side)
        self.heard: dict[bool, list[Output]] = {True: [], False: []}
        """Everything but packets, by whether it is the gateway's."""
        self.sent: list[tuple[bool, int, bytes]] = []
        self.filter: Callable[[bool, int, bytes], bool] = lambda *_: True
        self._flying: list[tuple[int, int, bool, int, bytes]] = []
        self._verdicts: list[tuple[int, int, Authenticate]] = []
        self._serial = 0

    def open(self) -> None:
        self.take(True, self.gateway.open(self.now))
        self.take(False, self.client.open(self.now))

    def side(self, gateway: bool) -> Session:
        return self.gateway if gateway else self.client

    def take(self, gateway: bool, output: list[Output]) -> None:
        """Do what a side says."""
        for said in output:
            if isinstance(said, Send):
                self.sent.append((gateway, said.protocol, said.information))
                if self.filter(gateway, said.protocol, said.information):
                    self._fly(gateway, said)
                continue
            self.heard[gateway].append(said)
            if isinstance(said, Authenticate):
                self._serial += 1
                heapq.heappush(self._verdicts, (self.now + self.slow, self._serial, said))

    def _fly(self, gateway: bool, said: Send) -> None:
        copies = (self.random.random() >= self.lose) + (self.random.random() < self.repeat)
        for _ in range(copies):
            self._serial += 1
            at = self.now + 5 * MILLISECOND + self.random.randrange(self.jitter + 1)
            heapq.heappush(self._flying, (at, self._serial, not gateway, said.protocol, said.information))

    def run(self, until: Callable[[], bool] | None = None, seconds: float = 3600, most: int = 20_000) -> None:
        """Go on until a condition holds, nothing is left to happen, or time is up. More than `most` packets fail."""
        end = self.now + int(seconds * SECOND)
        while not (until is not None and until()):
            times = [session.deadline for session in (self.gateway, self.client) if session.deadline != NEVER]
            times += [queue[0][0] for queue in (self._flying, self._verdicts) if queue]
            if not times or min(times) > end:
                self.now = BootNs(end)
                break
            assert len(self.sent) < most, "they never come to an end"
            self.now = BootNs(max(self.now, min(times)))
            while self._flying and self._flying[0][0] <= self.now:
                _, _, gateway, protocol, information = heapq.heappop(self._flying)
                self.take(gateway, self.side(gateway).receive(protocol, information, self.now))
            while self._verdicts and self._verdicts[0][0] <= self.now:
                asked = heapq.heappop(self._verdicts)[2]
                accepted, message = self.verify(asked.credentials)
                self.take(True, self.gateway.decide(asked.attempt, accepted, message, self.grant(), self.now))
            for gateway in (True, False):
                self.take(gateway, self.side(gateway).expire(self.now))
        assert until is None or until(), "it did not come to that"

    # ---- what came of it ----------------------------------------------------------------

    @property
    def both_up(self) -> bool:
        return self.is_up(True) and self.is_up(False)

    def is_up(self, gateway: bool) -> bool:
        """Every network of a side is open."""
        session = self.side(gateway)
        opened = [network for network in session.networks if network.state == 9]
        return session.phase is Phase.NETWORK and bool(opened) and len(opened) == len(session.networks)

    @property
    def both_down(self) -> bool:
        return self.gateway.phase is Phase.DEAD and self.client.phase is Phase.DEAD

    def agreed(self, gateway: bool) -> dict[str, object]:
        """What was agreed last, by the name of the protocol."""
        return {said.protocol.name: said.agreed for said in self.heard[gateway] if isinstance(said, NetworkUp)}

    def why(self, gateway: bool) -> str:
        """Why a side is down; it says so once."""
        (down,) = (said for said in self.heard[gateway] if isinstance(said, Down))
        return down.reason.value

    def dropped(self, gateway: bool) -> list[str]:
        return [said.reason.value for said in self.heard[gateway] if isinstance(said, Dropped)]

    def count(self, gateway: bool, protocol: int, code: int) -> int:
        """How many packets of a kind a side sent."""
        return sum((by, number, said[:1]) == (gateway, protocol, bytes((code,))) for by, number, said in self.sent)


def open_wire(*args: object, **how: object) -> Wire:
    """A wire on which everything is up."""
    wire = Wire(*args, **how)  # type: ignore[arg-type]
    wire.open()
    wire.run(lambda: wire.both_up)
    return wire
