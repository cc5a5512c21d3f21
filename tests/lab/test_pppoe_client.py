"""One call in virtual time: what a client makes of concentrators that do not give it a session."""

from __future__ import annotations

from wayleave.lab.packet import PPPOE_DISCOVERY, Frame, ethernet
from wayleave.lab.pppoe_client import Call, Dial
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.auth import Authentication
from wayleave.proto.pppoe.discovery import Concentrator, confirm, cookie, offer, refused
from wayleave.proto.pppoe.packet import AC_SYSTEM_ERROR, Code, Packet

MAC, CONCENTRATOR, OTHER = (Mac.parse(f"02:00:00:00:00:0{number}") for number in (1, 2, 3))
KEY = bytes(32)
START = BootNs(1000 * SECOND)
DIAL = Dial(
    user="alice",
    secret=b"secret",
    service="",
    concentrator="",
    mru=1492,
    host_uniq=b"u1",
    accept=(Authentication.PAP,),
    vendor=(),
    keepalive=Ns(0),
    ipv6=False,
)


class Device:
    """No device: no session comes up here."""

    def disconnect(self) -> None:
        pass


class Caller:
    """A call, what it sent and what it told."""

    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.told: list[dict[str, object]] = []
        self.now = START
        self.call = Call(DIAL, MAC, Device(), self._send, self._tell)

    def _send(self, data: bytes) -> None:
        self.sent.append(Frame(data))

    def _tell(self, event: str, **facts: object) -> None:
        self.told.append({"event": event, **facts})

    @property
    def codes(self) -> list[int]:
        return [frame.discovery.code for frame in self.sent]

    def hear(self, packet: bytes, destination: Mac = MAC) -> None:
        self.call.receive(Frame(ethernet(destination, CONCENTRATOR, PPPOE_DISCOVERY, packet)), self.now)

    def wait(self) -> None:
        """Until the next timer."""
        self.now = self.call.deadline
        self.call.expire(self.now)


def pado(padi: Packet) -> bytes:
    return offer(padi, Concentrator(name="bng-1"), cookie(KEY, MAC, b"", START))


def test_nobody_answers():
    caller = Caller()
    caller.call.begin(caller.now)
    while not caller.call.over:
        caller.wait()
    assert caller.codes == [Code.PADI] * 4
    assert {frame.destination for frame in caller.sent} == {BROADCAST}
    assert caller.told == [{"event": "down", "reason": "no-answer", "error": "", "message": ""}]


def test_a_concentrator_that_is_full():
    caller = Caller()
    caller.call.begin(caller.now)
    while not caller.call.over:
        caller.hear(pado(caller.sent[-1].discovery))
        confirmed = confirm(caller.sent[-1].discovery, Concentrator(name="bng-1"), [KEY], MAC, b"", START)
        caller.hear(refused(confirmed, AC_SYSTEM_ERROR, "full"))
    assert caller.codes == [Code.PADI, Code.PADR] * 3
    assert caller.told == [{"event": "down", "reason": "no-session", "error": "full", "message": ""}]


def test_what_is_for_somebody_else_is_not_heard():
    """A switch that does not know where a station is sends its frames everywhere."""
    caller = Caller()
    caller.call.begin(caller.now)
    caller.hear(pado(caller.sent[0].discovery), destination=OTHER)
    assert caller.codes == [Code.PADI]
    caller.hear(pado(caller.sent[0].discovery))
    assert caller.codes == [Code.PADI, Code.PADR]
    assert caller.sent[1].destination == CONCENTRATOR
