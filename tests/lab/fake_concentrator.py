"""A concentrator of the pure machines at `acc0`, so that PPPoE customers can be tested without the product.

One session at a time, on an untagged line. Its data path is `ppp0` in the gateway's namespace, whose kernel forwards.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from ipaddress import IPv4Address

from tests.proto.ppp.world import genuine
from wayleave.io.clock import Clock
from wayleave.lab.capture import packet_socket, receive
from wayleave.lab.closing import Closing
from wayleave.lab.packet import PPPOE_DISCOVERY, PPPOE_SESSION, Frame, ethernet
from wayleave.lab.ppp_device import PppDevice
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import BootNs, Ns
from wayleave.proto.ppp.auth import Authentication
from wayleave.proto.ppp.automaton import NEVER, Timers
from wayleave.proto.ppp.ipcp import IpcpServer
from wayleave.proto.ppp.ipv6cp import Ipv6cpServer
from wayleave.proto.ppp.lcp import Keepalive
from wayleave.proto.ppp.news import Authenticate, Down, NetworkUp, Output, Send, Up
from wayleave.proto.ppp.session import Session, Settings
from wayleave.proto.pppoe.discovery import Concentrator, Confirmed, confirm, cookie, ended, established, offer
from wayleave.proto.pppoe.packet import Code, Packet, encode_session

NAME = "bng-1"
OWN, PEER = IPv4Address("100.64.0.1"), IPv4Address("100.64.0.10")
DNS = (IPv4Address("198.51.100.53"), IPv4Address("198.51.100.54"))
OWN_ID = bytes.fromhex("0000000000000001")
_KEY, _LINE = bytes(32), b"the only one"


class FakeConcentrator(Closing):
    """Verifies who it is by `demands`, and gives 100.64.0.10. `every` of 0: it asks for no echo."""

    def __init__(
        self,
        lab: Lab,
        *demands: Authentication,
        services: tuple[str, ...] = ("",),
        most_payload: int = 1492,
        every: Ns = Ns(0),
    ) -> None:
        self.news: list[Output] = []
        """Everything of PPP's but packets."""
        self.session_id = 0
        self.deaf = False
        """Whether it neither hears nor says anything of PPP."""
        self._concentrator = Concentrator(name=NAME, services=services, most_payload=most_payload)
        self._settings = Settings(name=NAME.encode(), demands=demands, keepalive=Keepalive(every=every))
        self._client, self._mru = BROADCAST, 0
        self._session: Session | None = None
        self._clock = Clock()
        self._orders: list[Callable[[], None]] = []
        self._wake, self._woken = os.pipe()
        space = lab.gateway.namespace
        space.sysctl({"ipv4/ip_forward": 1})
        self._device = space.call(lambda: PppDevice("acc0"))
        self._socket = space.call(lambda: packet_socket("acc0"))
        self._space = space
        self._running = True
        self._thread = threading.Thread(target=lambda: space.call(self._serve), name="concentrator", daemon=True)
        self._thread.start()

    def terminate(self) -> None:
        """End the session as an administrator does: LCP's Terminate-Request."""
        self._order(lambda: self._session and self._heed(self._session.close(self._clock.boot())))

    def begin_anew(self) -> None:
        """Negotiate the same session from LCP on, as one does that has lost its state."""
        self._order(self._open)

    def padt(self, why: str) -> None:
        """End the session with a PADT alone."""
        self._order(lambda: self._put(PPPOE_DISCOVERY, ended(self.session_id, why)))

    def wait_down(self, reason: str) -> None:
        """Wait until a session has ended, for this reason."""
        wait_until(lambda: Down(reason) in self.news, lambda: f"{reason} among {self.news}")

    def close(self) -> None:
        """End the thread, without a word; the device goes."""
        self._running = False
        os.write(self._woken, b"x")
        self._thread.join()
        self._space.call(self._device.close)
        self._socket.close()
        os.close(self._wake)
        os.close(self._woken)

    def _order(self, order: Callable[[], object]) -> None:
        self._orders.append(order)
        os.write(self._woken, b"x")

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while self._running:
            deadline = self._session.deadline if self._session else NEVER
            wait = None if deadline == NEVER else max(0, -(-(deadline - self._clock.boot()) // 1_000_000))
            if self._wake in dict(poll.poll(wait)):
                os.read(self._wake, 64)
            while self._orders:
                self._orders.pop(0)()
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._receive(receive(self._socket), self._clock.boot())
            if self._session:
                self._heed(self._session.expire(self._clock.boot()))

    def _receive(self, frame: Frame, now: BootNs) -> None:
        if frame.outgoing:
            return
        if frame.discovery:
            self._discover(Mac(frame.source), frame.discovery, now)
        elif frame.ppp and self._session and not self.deaf and frame.ppp.session_id == self.session_id:
            self._heed(self._session.receive(frame.ppp.protocol, frame.ppp.information, now))

    def _discover(self, source: Mac, packet: Packet, now: BootNs) -> None:
        if packet.code == Code.PADI:
            said = offer(packet, self._concentrator, cookie(_KEY, source, _LINE, now))
        elif packet.code == Code.PADR:
            said = confirm(packet, self._concentrator, [_KEY], source, _LINE, now)
        elif packet.code == Code.PADT and (source, packet.session_id) == (self._client, self.session_id):
            self._session = None
            self._device.disconnect()
            return
        if packet.code in (Code.PADI, Code.PADR):
            self._client = source
        if isinstance(said, bytes):
            self._put(PPPOE_DISCOVERY, said)
        elif isinstance(said, Confirmed):
            self.session_id += 1
            self._put(PPPOE_DISCOVERY, established(said, self.session_id))
            self._mru = said.max_payload
            self._open()

    def _open(self) -> None:
        self._session = Session(self._settings, os.urandom, self._mru)
        self._heed(self._session.open(self._clock.boot()))

    def _heed(self, output: list[Output]) -> None:
        for said in output:
            if isinstance(said, Send):
                if not self.deaf:
                    self._put(PPPOE_SESSION, encode_session(self.session_id, said.protocol, said.information))
                continue
            self.news.append(said)
            if isinstance(said, Up):
                self._device.disconnect()
                self._device.connect(self.session_id, self._client, said.peer_mru)
            elif isinstance(said, Authenticate):
                self._decide(said)
            elif isinstance(said, NetworkUp):
                self._device.add(f"{OWN} peer {PEER}" if said.protocol == IpcpServer.PROTOCOL else "fe80::1/64")
            elif isinstance(said, Down):
                self._put(PPPOE_DISCOVERY, ended(self.session_id))
                self._device.disconnect()
                self._session = None

    def _decide(self, asked: Authenticate) -> None:
        accepted, message = genuine(asked.credentials)
        networks = (
            IpcpServer(Timers(), own=OWN, peer=PEER, dns=DNS),
            Ipv6cpServer(Timers(), own=OWN_ID, suggested=bytes.fromhex("00000000000000c0")),
        )
        if self._session:
            self._heed(self._session.decide(asked.attempt, accepted, message, networks, self._clock.boot()))

    def _put(self, ethertype: int, packet: bytes) -> None:
        self._socket.send(ethernet(self._client, GATEWAY_ACCESS_MAC, ethertype, packet))
