"""A PPPoE client as a process, in place of pppd where the kernel has no PPP: our own machines, and `ppp0`.

    python -m wayleave.lab.pppoe_client eth0 --user alice@example.net --secret FILE --events FILE

It runs in a customer's namespace until its session is over; with `--persist` it dials again at once. What happens is
written to the events file, a JSON object a line: `session` (there is one), `judged` (what the authenticator said), `up`
and `up6` with what was negotiated, `network-down`, and `down` with the reason when it is over.

SIGTERM ends the session in order, SIGUSR1 stops the answers to LCP's echo requests, SIGUSR2 begins them again. SIGKILL
is a power cut: nothing is said.

Source: RFC 2516, RFC 4638, RFC 1661.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from wayleave.io.clock import Clock
from wayleave.lab.capture import packet_socket, receive
from wayleave.lab.mschap import MsChap2
from wayleave.lab.packet import PPPOE_DISCOVERY, PPPOE_SESSION, Frame, ethernet
from wayleave.lab.ppp_device import NAME, PppDevice
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs, Ns, seconds
from wayleave.proto.ppp.account import Account
from wayleave.proto.ppp.auth import Authentication
from wayleave.proto.ppp.automaton import NEVER, Timers
from wayleave.proto.ppp.ipcp import Addresses, IpcpClient
from wayleave.proto.ppp.ipv6cp import Identifiers, Ipv6cpClient
from wayleave.proto.ppp.lcp import Keepalive
from wayleave.proto.ppp.news import Down, Judged, NetworkDown, NetworkUp, Output, Send, Up
from wayleave.proto.ppp.packet import Code, Protocol
from wayleave.proto.ppp.session import Client, Network, Session, Settings
from wayleave.proto.pppoe.discovery import ended
from wayleave.proto.pppoe.host import Host, Stage
from wayleave.proto.pppoe.host import Send as Ask
from wayleave.proto.pppoe.packet import AC_NAME, GENERIC_ERROR, PLAIN_MRU, VENDOR_SPECIFIC, Packet, encode_session

METHODS = {
    "ms-chap-2": Authentication.MS_CHAP_2,
    "chap": Authentication.CHAP_MD5,
    "pap": Authentication.PAP,
}
"""How the command line and events name them, the best first."""

_NAMES = {method: name for name, method in METHODS.items()}

Report = Callable[..., None]
"""Write an event: its name, and its facts by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """How to dial. `mru`: octets of IP that may come, RFC 4638's PPP-Max-Payload if there is more than PPPoE has."""

    user: str
    secret: bytes
    service: str
    concentrator: str
    mru: int
    host_uniq: bytes
    accept: tuple[Authentication, ...]
    vendor: tuple[bytes, ...]
    keepalive: Ns
    ipv6: bool

    def host(self) -> Host:
        """The machine for discovery."""
        return Host(
            self.host_uniq or os.urandom(8),
            service=self.service,
            concentrator_name=self.concentrator,
            most_payload=self.mru,
            more=tuple((VENDOR_SPECIFIC.number, value) for value in self.vendor),
        )

    def session(self, mac: Mac, room: int) -> Session:
        """The machine for PPP, on a carrier that takes `room` octets."""
        account = Account(name=self.user.encode(), password=self.secret, accepts=self.accept, ms_chap=MsChap2())
        settings = Settings(keepalive=Keepalive(every=self.keepalive))
        return Session(settings, os.urandom, min(self.mru, room), Client(account, lambda: self._networks(mac)))

    def _networks(self, mac: Mac) -> tuple[Network, ...]:
        if not self.ipv6:
            return (IpcpClient(Timers()),)
        identifier = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]  # RFC 5072 4.1, of the MAC
        return IpcpClient(Timers()), Ipv6cpClient(Timers(), own=identifier)


class Call:
    """One session, from the first PADI to its end. The caller hands frames and time in, until it is `over`."""

    def __init__(
        self, dial: Dial, mac: Mac, device: PppDevice, send: Callable[[bytes], object], report: Report
    ) -> None:
        self._dial, self._mac, self._device = dial, mac, device
        self._send, self._report = send, report
        self._host = dial.host()
        self._session: Session | None = None
        self._name = self._message = ""
        self._mru = 0
        self._method: Authentication | None = None
        self._addresses: dict[Protocol, str] = {}
        self.muted = False
        """Whether echo requests go unanswered."""
        self.over = False

    @property
    def deadline(self) -> BootNs:
        """When `expire` wants to be called; NEVER: not at all."""
        session = self._session.deadline if self._session else NEVER
        return min((at for at in (self._host.deadline, session) if at != NEVER), default=NEVER)

    def begin(self, now: BootNs) -> None:
        """Look for a concentrator."""
        self._ask(self._host.begin(now))

    def hang_up(self, now: BootNs) -> None:
        """End it in order."""
        if self._session is None:
            self._end("closed")
        else:
            self._heed(self._session.close(now))

    def receive(self, frame: Frame, now: BootNs) -> None:
        """Take a frame that was seen at the device."""
        if frame.outgoing or frame.destination != self._mac:
            return
        source = Mac(frame.source)
        if frame.discovery:
            self._discover(source, frame.discovery, now)
        elif frame.ppp and self._session:
            mine = (source, frame.ppp.session_id) == (self._host.concentrator, self._host.session_id)
            if mine and not (self.muted and frame.control == (Protocol.LCP, Code.ECHO_REQUEST)):
                self._heed(self._session.receive(frame.ppp.protocol, frame.ppp.information, now))

    def expire(self, now: BootNs) -> None:
        """Do what is due."""
        self._ask(self._host.expire(now))
        if self._host.stage is Stage.ENDED:
            self._give_up()
        elif self._session is not None:
            self._heed(self._session.expire(now))

    # ---- discovery ----------------------------------------------------------------------

    def _discover(self, source: Mac, packet: Packet, now: BootNs) -> None:
        before = self._host.stage
        self._ask(self._host.receive(source, packet, now))
        match before, self._host.stage:
            case Stage.SEEKING, Stage.ASKING:
                self._name = _text(packet.first(AC_NAME))
            case Stage.ASKING, Stage.IN_SESSION:
                self._report("session", **self._identity())
                self._session = self._dial.session(self._mac, self._host.max_payload)
                self._heed(self._session.open(now))
            case Stage.IN_SESSION, Stage.ENDED:
                self._end("padt", _text(packet.first(GENERIC_ERROR)))
            case _, Stage.ENDED:
                self._give_up()
            case _:
                pass

    def _give_up(self) -> None:
        self._end("no-session" if self._host.error else "no-answer", self._host.error)

    def _identity(self) -> dict[str, object]:
        return {
            "session_id": self._host.session_id,
            "concentrator": str(self._host.concentrator),
            "name": self._name,
            "max_payload": self._host.max_payload,
        }

    # ---- PPP ----------------------------------------------------------------------------

    def _heed(self, output: list[Output]) -> None:
        """Do what the session says."""
        for said in output:
            match said:
                case Send(protocol, information):
                    self._put(PPPOE_SESSION, encode_session(self._host.session_id, protocol, information))
                case Up(peer_mru):
                    self._mru = peer_mru
                    self._method = self._session.link.owed if self._session and self._session.link else None
                    self._device.connect(self._host.session_id, self._host.concentrator, peer_mru)
                case Judged(accepted, message):
                    self._message = _text(message)
                    self._report("judged", accepted=accepted, message=self._message)
                case NetworkUp(protocol, agreed):
                    self._network_up(protocol, agreed)
                case NetworkDown(protocol):
                    self._device.drop(self._addresses.pop(protocol))
                    self._report("network-down", protocol=protocol.name)
                case Down(reason):
                    self._put(PPPOE_DISCOVERY, ended(self._host.session_id))
                    self._end(reason.value)
                case _:
                    pass

    def _network_up(self, protocol: Protocol, agreed: Addresses | Identifiers) -> None:
        if isinstance(agreed, Identifiers):
            self._addresses[protocol] = f"{_link_local(agreed.own)}/64"
            self._device.add(self._addresses[protocol])
            self._report("up6", address=str(_link_local(agreed.own)), peer=str(_link_local(agreed.peer)))
            return
        self._addresses[protocol] = f"{agreed.own} peer {agreed.peer}"
        self._device.add(self._addresses[protocol], f"route replace default dev {NAME}")
        self._report(
            "up",
            address=str(agreed.own),
            peer=str(agreed.peer),
            dns=[str(address) for address in agreed.dns],
            mru=self._mru,
            method=_NAMES[self._method] if self._method else "",
            message=self._message,
            **self._identity(),
        )

    # ---- both ---------------------------------------------------------------------------

    def _ask(self, packets: list[Ask]) -> None:
        for packet in packets:
            self._send(ethernet(packet.destination, self._mac, PPPOE_DISCOVERY, packet.data))

    def _put(self, ethertype: int, packet: bytes) -> None:
        """Send to the concentrator of the session."""
        self._send(ethernet(self._host.concentrator, self._mac, ethertype, packet))

    def _end(self, reason: str, error: str = "") -> None:
        """It is over; `error` are the concentrator's words for it."""
        if not self.over:
            self.over, self._session = True, None
            self._device.disconnect()
            self._report("down", reason=reason, error=error, message=self._message)


def _text(said: bytes | None) -> str:
    return (said or b"").decode(errors="replace")


def _link_local(identifier: bytes) -> IPv6Address:
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


# ---- The process ------------------------------------------------------------------------


class Signals:
    """The signals of this process, one after the other, for a loop that polls."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(write)

    def fileno(self) -> int:
        return self._read

    def take(self) -> bytes:
        """The numbers of those that came."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._read, 64)
        return b""


def run(call: Call, sock: socket.socket, signals: Signals) -> bool:
    """Stay until the call is over; returns whether a signal has ended it."""
    clock, poll = Clock(), select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(signals, select.POLLIN)
    told = False
    call.begin(clock.boot())
    while not call.over:
        deadline = call.deadline
        poll.poll(None if deadline == NEVER else max(0, -(-(deadline - clock.boot()) // 1_000_000)))
        for number in signals.take():
            if number in (signal.SIGUSR1, signal.SIGUSR2):
                call.muted = number == signal.SIGUSR1
            elif not told:
                told = True
                call.hang_up(clock.boot())
        for frame in _frames(sock):
            call.receive(frame, clock.boot())
        call.expire(clock.boot())
    return told


def _frames(sock: socket.socket) -> Iterator[Frame]:
    with contextlib.suppress(OSError):  # none is left, or the cable is out
        while True:
            yield receive(sock)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status: 0 if it was told to end."""
    options = _parser().parse_args(arguments)
    signals = Signals(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    dial = Dial(
        user=options.user,
        secret=options.secret.read_bytes().rstrip(b"\r\n") if options.secret else b"",
        service=options.service,
        concentrator=options.ac_name,
        mru=options.mru,
        host_uniq=options.host_uniq,
        accept=tuple(METHODS[name] for name in options.accept.split(",")),
        vendor=tuple(options.vendor_tag),
        keepalive=seconds(options.keepalive),
        ipv6=options.ipv6,
    )
    with options.events.open("a", buffering=1) as events, PppDevice(options.device, options.link) as device:

        def report(event: str, **facts: object) -> None:
            events.write(json.dumps({"event": event, **facts}) + "\n")

        with packet_socket(options.device) as sock:

            def send(data: bytes) -> None:
                with contextlib.suppress(OSError):  # the cable is out
                    sock.send(data)

            mac = Mac(sock.getsockname()[4])
            while True:
                told = run(Call(dial, mac, device, send, report), sock, signals)
                if told or not options.persist:
                    return 0 if told else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wayleave.lab.pppoe_client", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("device", help="where the cable is")
    parser.add_argument("--events", type=Path, required=True, metavar="FILE", help="where to write what happens")
    parser.add_argument("--user", default="")
    parser.add_argument("--secret", type=Path, metavar="FILE", help="a file with it")
    parser.add_argument("--accept", default=",".join(METHODS), metavar="METHODS", help="the best first: %(default)s")
    parser.add_argument("--service", default="", help="Service-Name; any by default")
    parser.add_argument("--ac-name", default="", help="AC-Name; any by default")
    parser.add_argument("--host-uniq", type=bytes.fromhex, default=b"", metavar="HEX", help="chance by default")
    parser.add_argument("--vendor-tag", type=bytes.fromhex, default=[], action="append", metavar="HEX",
                        help="value of a Vendor-Specific tag, as an access node adds it")  # fmt: skip
    parser.add_argument("--mru", type=int, default=PLAIN_MRU, metavar="OCTETS", help="%(default)s; more: RFC 4638")
    parser.add_argument("--keepalive", type=float, default=0, metavar="SECONDS", help="0, the default: no LCP echoes")
    parser.add_argument("--ipv6", action="store_true", help="IPV6CP beside IPCP")
    parser.add_argument("--persist", action="store_true", help="dial again at once when it is over")
    parser.add_argument("--link", type=int, metavar="FD", help="descriptor of the XDP link on the device")
    return parser


if __name__ == "__main__":
    sys.exit(main())
