"""Servers in virtual time on a network that loses, repeats, delays and forges."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.radius.exchange import Answered, Channel, Exchange, Outcome, Server, Unanswered
from wayleave.proto.radius.packet import Avp, Code, Packet, accounting_request, decode, encode, response

START = BootNs(1000 * SECOND)
MILLISECOND = SECOND // 1000


@dataclass
class FakeServer:
    """What one server does. `answer` returns the code and attributes of its reply, None: it keeps silent."""

    secret: bytes
    up: bool = True
    latency: int = 5 * MILLISECOND
    knows_status: bool = True
    signs: bool = True
    answer: Callable[[Packet], tuple[int, list[Avp]] | None] = lambda asked: (
        (Code.ACCESS_ACCEPT if asked.code == Code.ACCESS_REQUEST else Code.ACCOUNTING_RESPONSE),
        [],
    )
    heard: list[tuple[BootNs, bytes]] = field(default_factory=list)

    def receive(self, data: bytes, now: BootNs) -> bytes | None:
        if not self.up:
            return None
        asked = decode(data)
        self.heard.append((now, data))
        if asked.code == Code.STATUS_SERVER:
            said = (Code.ACCESS_ACCEPT, []) if self.knows_status else None
        else:
            said = self.answer(asked)
        if said is None:
            return None
        if self.signs:
            return response(asked, said[0], said[1], self.secret)
        bare = accounting_request(asked.identifier, said[1], b"")  # its frame; sealed by hand, as RFC 2865 3 has it
        blank = bytes((said[0], asked.identifier)) + bare[2:4] + asked.authenticator + bare[20:]
        return blank[:4] + hashlib.md5(blank + self.secret).digest() + blank[20:]

    def asked(self, code: int = Code.ACCESS_REQUEST) -> list[Packet]:
        return [packet for _, data in self.heard if (packet := decode(data)).code == code]


class World:
    """An exchange, its servers and what lies between. `lose`, `repeat`, `forge`: chances of each."""

    def __init__(
        self,
        count: int = 1,
        code: Code = Code.ACCESS_REQUEST,
        seed: int = 0,
        lose: float = 0,
        repeat: float = 0,
        forge: float = 0,
        jitter: int = 0,
        share: bool = False,
        queue: int = 100,
        **how: object,
    ) -> None:
        self.random = Random(seed)
        self.now = START
        self.lose, self.repeat, self.forge, self.jitter = lose, repeat, forge, jitter
        secrets = [b"secret %d" % number for number in range(count)]
        self.servers = [FakeServer(secret) for secret in secrets]
        self.exchange = Exchange(
            code,
            [Server(name=f"r{number}", secret=Secret(secret), **how) for number, secret in enumerate(secrets)],
            self.random.randbytes,
            share=share,
            queue=queue,
        )
        self.outcomes: list[Outcome] = []
        self.doubts: Counter[str] = Counter()
        self._flying: list[tuple[int, int, bool, Channel, bytes]] = []
        self._serial = 0

    def ask(self, key: object, attributes: Callable[..., list[Avp]] = lambda _at, _hide: []) -> bool:
        done = self.exchange.ask(key, attributes, self.now)
        self._pump()
        return done

    def run(self, until: Callable[[], bool] | None = None, seconds: float = 3600) -> None:
        """Go on until a condition holds, nothing is left to happen, or time is up."""
        end = self.now + int(seconds * SECOND)
        self._pump()
        while not (until is not None and until()):
            times = [time for time in (self._flying[0][0] if self._flying else 0, self.exchange.deadline) if time]
            if not times or min(times) > end:
                self.now = BootNs(end)
                break
            self.now = BootNs(max(self.now, min(times)))
            while self._flying and self._flying[0][0] <= self.now:
                self._arrive(*heapq.heappop(self._flying)[2:])
            if self.exchange.deadline and self.exchange.deadline <= self.now:
                self.exchange.expire(self.now)
            self._pump()
        assert until is None or until(), "it did not come to that"

    def _arrive(self, up: bool, channel: Channel, data: bytes) -> None:
        server = self.servers[channel.server]
        if not up:
            doubt = self.exchange.receive(channel, data, self.now)
            if doubt is not None:
                self.doubts[doubt.value] += 1
            return
        answer = server.receive(data, self.now)
        if self.random.random() < self.forge:
            self._fly(False, channel, self._forged(decode(data)))
        if answer is not None:
            self._fly(False, channel, answer)

    def _forged(self, asked: Packet) -> bytes:
        """What somebody sends who saw the request and does not know the secret."""
        blank = encode(Code.ACCESS_ACCEPT, asked.identifier, self.random.randbytes(16), [(25, b"forged")])
        return self.random.choice([blank, blank[:-3], response(asked, Code.ACCESS_ACCEPT, [(25, b"forged")], b"guess")])

    def _pump(self) -> None:
        for channel, data in self.exchange.take():
            self._fly(True, channel, data)
        self.outcomes += self.exchange.outcomes()

    def _fly(self, up: bool, channel: Channel, data: bytes) -> None:
        copies = (self.random.random() >= self.lose) + (self.random.random() < self.repeat)
        for _ in range(copies):
            self._serial += 1
            late = self.servers[channel.server].latency + self.random.randrange(self.jitter + 1)
            heapq.heappush(self._flying, (self.now + late, self._serial, up, channel, data))

    def answered(self) -> dict[object, Answered]:
        found = [outcome for outcome in self.outcomes if isinstance(outcome, Answered)]
        assert len({outcome.key for outcome in found}) == len(found)
        return {outcome.key: outcome for outcome in found}

    def unanswered(self) -> dict[object, str]:
        return {outcome.key: outcome.why for outcome in self.outcomes if isinstance(outcome, Unanswered)}
