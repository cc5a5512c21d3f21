"""A customer's router as a PPPoE client, between frames: the real machines of a host and of PPP.

It forgets everything when it is switched off, and says nothing then.
"""

from __future__ import annotations

from random import Random

from wayleave.net import frame
from wayleave.net.frame import (
    ETHERTYPE_PPPOE_DISCOVERY,
    ETHERTYPE_PPPOE_SESSION,
    TPID_C,
    TPID_S,
    Tag,
    encode_l2,
)
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs, Ns
from wayleave.proto.ppp import session as ppp
from wayleave.proto.ppp.account import Account
from wayleave.proto.ppp.automaton import NEVER, Timers
from wayleave.proto.ppp.ipcp import Addresses, IpcpClient
from wayleave.proto.ppp.ipv6cp import Ipv6cpClient
from wayleave.proto.ppp.lcp import Keepalive
from wayleave.proto.ppp.news import Down, NetworkDown, NetworkUp, Output, Restarted, Send
from wayleave.proto.pppoe import host, packet
from wayleave.proto.pppoe.host import Host, Stage
from wayleave.proto.pppoe.packet import Code
from wayleave.proto.pppoe.packet import Tag as PppoeTag
from wayleave.session.model import Client, Line

PPP = ppp.Settings(keepalive=Keepalive(every=Ns(0)))
"""It asks for no echoes: whether it is there is the gateway's question."""


class Caller:
    """One client on a line. What it sends waits in `out`; `tags` are added to its packets by its access node."""

    def __init__(
        self,
        line: Line,
        mac: Mac,
        chance: Random,
        account: Account | None = None,
        service: str = "",
        most: int = packet.PLAIN_MRU,
        tags: tuple[PppoeTag, ...] = (),
    ) -> None:
        self.line, self.mac, self.tags = line, mac, tags
        self._chance, self._service, self._most = chance, service, most
        self._account = account or Account(name=b"alice", password=b"sesame")
        self._vlan = tuple(Tag(tpid, vid) for tpid, vid in ((TPID_S, line.svid), (TPID_C, line.cvid)) if vid)
        self.out: list[bytes] = []
        self.heard: list[Output] = []
        self.deaf = False
        """It hears nothing, and so answers nothing."""
        self.host = self._new_host()
        self.ppp: ppp.Session | None = None
        self.addresses: Addresses | None = None
        """What IPCP came to, while it is up."""

    def _entropy(self, octets: int) -> bytes:
        return self._chance.randbytes(octets)

    def _new_host(self) -> Host:
        return Host(self._entropy(4), self._service, most_payload=self._most)

    @property
    def client(self) -> Client:
        """As the gateway knows it."""
        return Client(self.line, self.mac, self.host.session_id)

    @property
    def over(self) -> bool:
        """Its carrier is gone, or it never got one."""
        return self.host.stage is Stage.ENDED

    @property
    def deadline(self) -> BootNs:
        parts = (self.host, self.ppp)
        return min((part.deadline for part in parts if part is not None and part.deadline), default=NEVER)

    def take(self) -> list[bytes]:
        """Return what it has sent since the last call."""
        out, self.out = self.out, []
        return out

    def dial(self, now: BootNs) -> None:
        """Begin, with nothing remembered."""
        self.host, self.ppp, self.addresses = self._new_host(), None, None
        self._discover(self.host.begin(now))

    def hang_up(self) -> None:
        """Say PADT, and be gone."""
        self._put(self.host.concentrator, ETHERTYPE_PPPOE_DISCOVERY, packet.encode(Code.PADT, self.host.session_id, []))
        self.switch_off()

    def switch_off(self) -> None:
        self.host, self.ppp, self.addresses = self._new_host(), None, None

    def close(self, now: BootNs) -> None:
        """End PPP in order."""
        assert self.ppp is not None
        self._do(self.ppp.close(now))

    def renegotiate(self, now: BootNs) -> None:
        """Begin PPP anew on the same carrier."""
        self._begin(now)

    def receive(self, data: bytes, now: BootNs) -> None:
        outer = frame.decode(data)
        if self.deaf:
            return
        if outer.destination != self.mac or frame.vids(outer) != (self.line.svid, self.line.cvid):
            return
        if outer.ethertype == ETHERTYPE_PPPOE_DISCOVERY:
            self._discover(self.host.receive(outer.source, packet.decode(outer.payload), now))
            if self.host.stage is Stage.IN_SESSION and self.ppp is None:
                self._begin(now)
            if self.host.stage is Stage.ENDED:
                self.ppp, self.addresses = None, None
        elif outer.ethertype == ETHERTYPE_PPPOE_SESSION and self.ppp is not None:
            said = packet.decode_session(outer.payload)
            if said.session_id == self.host.session_id:
                self._do(self.ppp.receive(said.protocol, said.information, now))

    def expire(self, now: BootNs) -> None:
        self._discover(self.host.expire(now))
        if self.ppp is not None:
            self._do(self.ppp.expire(now))

    def _begin(self, now: BootNs) -> None:
        timers = Timers()

        def networks() -> tuple[ppp.Network, ...]:
            return IpcpClient(timers), Ipv6cpClient(timers, own=self._entropy(8))

        self.addresses = None
        client = ppp.Client(self._account, networks)
        self.ppp = ppp.Session(PPP, self._entropy, self.host.max_payload, client=client)
        self._do(self.ppp.open(now))

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                said = packet.encode_session(self.host.session_id, output.protocol, output.information)
                self._put(self.host.concentrator, ETHERTYPE_PPPOE_SESSION, said)
                continue
            self.heard.append(output)
            if isinstance(output, NetworkUp) and isinstance(output.agreed, Addresses):
                self.addresses = output.agreed
            elif isinstance(output, Restarted | Down) or (
                isinstance(output, NetworkDown) and output.protocol == IpcpClient.PROTOCOL
            ):
                self.addresses = None

    def _discover(self, sends: list[host.Send]) -> None:
        for send in sends:
            said = packet.decode(send.data)
            marked = packet.encode(said.code, said.session_id, (*said.tags, *self.tags))
            self._put(send.destination, ETHERTYPE_PPPOE_DISCOVERY, marked)

    def _put(self, destination: Mac, ethertype: int, payload: bytes) -> None:
        self.out.append((encode_l2(destination, self.mac, self._vlan, ethertype) + payload).ljust(60, b"\0"))
