"""An access concentrator in one file, so that customers that dial can be tested without the product.

It listens at `acc0` and speaks PPPoE and PPP with the machines of the product; what is in the sessions goes to the
kernel of its namespace by a TUN device, and comes from there: so it routes.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import select
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from wayleave.lab.capture import packet_socket, receive
from wayleave.lab.closing import Closing
from wayleave.lab.packet import Frame, ethernet
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.auth import Authentication, ChapMd5, Credentials
from wayleave.proto.ppp.automaton import NEVER, Timers
from wayleave.proto.ppp.ipcp import IpcpServer
from wayleave.proto.ppp.ipv6cp import Ipv6cpServer
from wayleave.proto.ppp.lcp import Keepalive
from wayleave.proto.ppp.news import Authenticate, Down, Output, Send
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.ppp.session import Session, Settings
from wayleave.proto.pppoe import discovery
from wayleave.proto.pppoe.packet import Code, decode, decode_session, encode_session

DISCOVERY, SESSION = 0x8863, 0x8864
OWN = IPv4Address("100.64.0.1")
RESOLVERS = (IPv4Address("198.51.100.53"), IPv4Address("198.51.100.54"))
OWN6, SUGGESTED6 = b"\0\0\0\0\0\0\0\1", b"\0\0\0\0\0\0\0\xc0"

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_TUN = "ppp"
_MTU = 1500
_TIMERS = Timers(restart=Ns(SECOND), most_configures=30)
"""Impatient: Linux loses what is sent right behind the PADS, before it has told its kernel of the session."""
_SETTINGS = Settings(
    name=b"concentrator",
    demands=(Authentication.CHAP_MD5,),
    timers=_TIMERS,
    keepalive=Keepalive(every=Ns(SECOND), most=30),
)


@dataclass(frozen=True)
class Dialled:
    """A customer that is served: where it is, which PADR it sent, its session, and the address that it is given."""

    heard: Frame
    cookie: bytes
    session_id: int
    ppp: Session
    address: IPv4Address


class Concentrator(Closing):
    """Serves who dials at the lab's gateway, and knows `accounts`, names and secrets. Close it, or use `with`."""

    def __init__(self, lab: Lab, accounts: Mapping[bytes, bytes]) -> None:
        self.accounts = accounts
        self.news: list[Output] = []
        self._offers = discovery.Concentrator(name="concentrator", most_payload=_MTU)
        self._key = os.urandom(32)
        self._ids = itertools.count(1)
        self._served: dict[int, Dialled] = {}
        self._lock = threading.Lock()
        space = lab.gateway.namespace
        lab.access_node.attach("pass", space, "acc0")
        self._socket = space.call(lambda: packet_socket("acc0"))
        self._tun = space.call(_open_tun)
        space.ip(f"link set {_TUN} mtu {_MTU} up", f"addr add {OWN}/22 dev {_TUN}")
        space.sysctl({"ipv4/ip_forward": 1})
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="concentrator", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End all sessions in order, as an operator does."""
        with self._lock:
            for dialled in list(self._served.values()):
                self._heed(dialled, dialled.ppp.close(_now()))

    def close(self) -> None:
        """Stop; who is served hears nothing of it."""
        os.write(self._woken, b"x")
        self._thread.join()
        self._socket.close()
        for fd in (self._tun, self._wake, self._woken):
            os.close(fd)

    def _serve(self) -> None:
        poll = select.poll()
        for fd in (self._socket.fileno(), self._tun, self._wake):
            poll.register(fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(self._patience_ms())}
            if self._wake in ready:
                return
            with self._lock:
                if self._socket.fileno() in ready:
                    self._hear(receive(self._socket))
                if self._tun in ready:
                    self._carry(os.read(self._tun, 2048))
                for dialled in list(self._served.values()):
                    self._heed(dialled, dialled.ppp.expire(_now()))

    def _patience_ms(self) -> float | None:
        with self._lock:
            due = [served.ppp.deadline for served in self._served.values() if served.ppp.deadline != NEVER]
        return max(0.0, (min(due) - _now()) / 1_000_000 + 1) if due else None

    def _send(self, to: Frame, ethertype: int, payload: bytes) -> None:
        self._socket.send(ethernet(to.source, GATEWAY_ACCESS_MAC, ethertype, payload, to.tags))

    # ---- what customers say -------------------------------------------------------------

    def _hear(self, frame: Frame) -> None:
        if frame.outgoing:
            return
        if frame.ethertype == DISCOVERY:
            self._discover(frame)
        elif frame.ethertype == SESSION:
            packet = decode_session(frame.payload)
            dialled = self._served.get(packet.session_id)
            if dialled is None:
                return
            if packet.protocol == Protocol.IPV4:
                os.write(self._tun, packet.information)
            else:
                self._heed(dialled, dialled.ppp.receive(packet.protocol, packet.information, _now()))

    def _discover(self, frame: Frame) -> None:
        packet, mac, line = decode(frame.payload), Mac(frame.source), b"".join(map(bytes, frame.tags))
        if packet.code == Code.PADI:
            pado = discovery.offer(packet, self._offers, discovery.cookie(self._key, mac, line, _now()))
            assert isinstance(pado, bytes), pado
            self._send(frame, DISCOVERY, pado)
        elif packet.code == Code.PADR:
            confirmed = discovery.confirm(packet, self._offers, [self._key], mac, line, _now())
            assert isinstance(confirmed, discovery.Confirmed), confirmed
            self._establish(frame, confirmed)
        elif packet.code == Code.PADT:
            self._served.pop(packet.session_id, None)

    def _establish(self, frame: Frame, confirmed: discovery.Confirmed) -> None:
        """Give it a session; a PADR that is repeated gets the same one again."""
        again = next((served for served in self._served.values() if served.cookie == confirmed.cookie), None)
        session_id = again.session_id if again else next(self._ids)
        self._send(frame, DISCOVERY, discovery.established(confirmed, session_id))
        if again is None:
            session = Session(_SETTINGS, os.urandom, confirmed.max_payload)
            dialled = Dialled(frame, confirmed.cookie, session_id, session, OWN + session_id)
            self._served[session_id] = dialled
            self._heed(dialled, session.open(_now()))

    # ---- what they are told -------------------------------------------------------------

    def _heed(self, dialled: Dialled, outputs: list[Output]) -> None:
        for output in outputs:
            self.news.append(output)
            if isinstance(output, Send):
                packet = encode_session(dialled.session_id, output.protocol, output.information)
                self._send(dialled.heard, SESSION, packet)
            elif isinstance(output, Authenticate):
                good, networks = self._proven(output.credentials), _networks(dialled.address)
                self._heed(dialled, dialled.ppp.decide(output.attempt, good, b"", networks, _now()))
            elif isinstance(output, Down):
                self._send(dialled.heard, DISCOVERY, discovery.ended(dialled.session_id))
                self._served.pop(dialled.session_id, None)

    def _proven(self, said: Credentials | None) -> bool:
        """Verify a CHAP response. Source: RFC 1994 4.1."""
        if not isinstance(said, ChapMd5) or said.name not in self.accounts:
            return False
        right = hashlib.md5(bytes((said.identifier,)) + self.accounts[said.name] + said.challenge)
        return said.response == right.digest()

    def _carry(self, packet: bytes) -> None:
        """Put an IPv4 packet around into the session of whom it is for."""
        for dialled in self._served.values():
            if packet[16:20] == dialled.address.packed:
                self._send(dialled.heard, SESSION, encode_session(dialled.session_id, Protocol.IPV4, packet))


def _networks(address: IPv4Address) -> tuple[IpcpServer, Ipv6cpServer]:
    return (
        IpcpServer(_TIMERS, own=OWN, peer=address, dns=RESOLVERS),
        Ipv6cpServer(_TIMERS, own=OWN6, suggested=SUGGESTED6),
    )


def _open_tun() -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", _TUN.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def _now() -> BootNs:
    return BootNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
