"""What an exchange costs Python, stage by stage: CPU time of the thread, so that it holds still on a busy machine.

DISCOVER, OFFER, REQUEST, ACK of clients not seen before, in turns of 64, through the real codecs, engine, table, pool,
rows, store rows and log lines. There is no wire, no map and no disk, and no other thread asks for the interpreter: the
rest of what `control` shows is those.
"""

from __future__ import annotations

import gc
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from itertools import islice
from typing import TypeVar

from tests.fakes.router import EVERYONE, ask, frame_of
from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization
from wayleave.access.ipoe import Delivery, Ipoe
from wayleave.access.settings import PortSettings
from wayleave.daemon import app, derived, logs
from wayleave.daemon.engine import Admission, Engine, Told
from wayleave.dataplane.rows import project
from wayleave.io.lease import row
from wayleave.io.writes import Collected, Save, Write, saved, to_json
from wayleave.lab.topology import GATEWAY_ACCESS_MAC
from wayleave.net import frame
from wayleave.net.mac import BROADCAST
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.dhcp4 import message
from wayleave.proto.dhcp4.message import ZERO, MessageType
from wayleave.session import lifecycle
from wayleave.session.journal import ROOM, Journal
from wayleave.session.model import NEVER, NOTHING_USED, Line, Session, Used
from wayleave.session.settings import PoolSettings
from wayleave.session.table import Table

from . import population
from .report import Result, shown
from .report import Table as Shown

T = TypeVar("T")

TURN = 64
"""Clients that are heard together."""
NOW = BootNs(1_000_000 * SECOND)
ASKED = {55: bytes((1, 3, 6, 12, 15, 28))}
STAGES = {
    "hear DISCOVER": "from the frame to the event",
    "offer": "authorize, hold an address, answer",
    "hear REQUEST": "from the frame to the event",
    "claim": "up to the effect that records",
    "encode lease": "what the store's thread does in Python",
    "confirm": "project, answer, tell",
}


class Rig(Collected):
    """Everything between the ring and the wire. It is the engine's plane and records too."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        port = PortSettings(number=population.ACCESS_PORT, device="olt0", role="subscriber", clients=1)
        network = population.NETWORK
        pool = PoolSettings(
            name="residential", network=network, gateway=network[1], dns=(IPv4Address("198.51.100.10"),)
        )
        self.table = Table(capacity)
        delivery = Delivery(pool.network, pool.gateway, pool.dns)
        self.ipoe = Ipoe({port.number: port}, {port.number: GATEWAY_ACCESS_MAC}, {pool.name: delivery}, self.table.find)
        authorization = LocalAuthorization(
            AuthorizationSettings(default=pool.name), (), {port.number: "default"}, {}, {}
        )
        self.engine = Engine(
            self.table,
            {pool.name: derived.terms_of(pool, ())},
            authorization,
            self,
            self,
            self._reply,
            {port.number: Admission(port.clients, replace=True)},
            app._log_transition,
        )
        self.sent: list[bytes] = []

    def _reply(self, session: Session, reply: lifecycle.Reply) -> None:
        answer = self.ipoe.reply(session, reply)
        if answer is not None:
            self.sent.append(answer[1])

    def hear(self, frames: Iterable[bytes]) -> list[Told]:
        return [told for data in frames if (told := self.ipoe.receive(population.ACCESS_PORT, data)) is not None]

    # ---- session.ports.Plane, Records ---------------------------------------------------

    def install(self, sessions: Sequence[Session], now: BootNs) -> None:  # noqa: ARG002
        for session in sessions:
            project(session, population.TENANT, self.ipoe.standing(session))

    def remove(self, ids: Iterable[int], now: BootNs) -> None:  # noqa: ARG002
        raise AssertionError("nobody leaves here")

    def seen(self, id_: int) -> BootNs:  # noqa: ARG002
        return NEVER

    renewed = seen

    def counted(self, id_: int) -> Used:  # noqa: ARG002
        return NOTHING_USED

    def taken(self) -> list[Write]:
        """What was collected since the last call."""
        group, self._collected = self._collected, []
        return group

    def flush(self) -> None:
        """They lie there until the turn takes them."""


def _frame(number: int, kind: MessageType, options: dict[int, bytes]) -> bytes:
    mac = population.mac(number)
    asked = ask(kind, mac, number, {**ASKED, **options})
    return frame_of(Line(population.ACCESS_PORT, *population.vids(number)), mac, asked, ZERO, (BROADCAST, EVERYONE))


def _requests(offers: Iterable[bytes]) -> Iterator[bytes]:
    """What clients say to offers."""
    for data in offers:
        said = message.decode(frame.decode_udp4(frame.decode(data).payload).payload)
        yield _frame(said.xid, MessageType.REQUEST, {50: said.yiaddr.packed, 54: said.options[54]})


def _encode(group: Sequence[Write]) -> None:
    to_json([row(write.session, write.promise_until, NOW) for write in group if isinstance(write, Save)])


def turns(rig: Rig, clients: Iterable[int], spent: dict[str, list[float]]) -> None:
    """Bring clients up, a turn at a time; adds µs an exchange by stage to `spent`."""

    def timed(stage: str, work: Callable[[], T]) -> T:
        began = time.thread_time_ns()
        result = work()
        spent[stage].append((time.thread_time_ns() - began) / 1000 / TURN)
        return result

    numbers = iter(clients)
    while turn := list(islice(numbers, TURN)):
        discovers = [_frame(number, MessageType.DISCOVER, {}) for number in turn]
        timed("offer", partial(rig.engine.take, timed("hear DISCOVER", partial(rig.hear, discovers)), NOW))
        offers, rig.sent = rig.sent, []
        requests = list(_requests(offers))
        timed("claim", partial(rig.engine.take, timed("hear REQUEST", partial(rig.hear, requests)), NOW))
        group = rig.taken()
        timed("encode lease", partial(_encode, group))
        timed("confirm", partial(rig.engine.recorded, saved(group), (), None, NOW))
        assert len(offers) == len(group) == len(rig.sent) == len(turn), "somebody was not served"
        rig.sent.clear()
        logs.LINES.flush()


FULL = sys.getsizeof(bytes(ROOM))


def _journal_octets(journal: Journal) -> int:
    """Memory of a session's journal, its share of the table among it."""
    kept = journal._of
    whole = sys.getsizeof(kept) + sum(sys.getsizeof(id_) + sys.getsizeof(entries) for id_, entries in kept.items())
    return whole // len(kept)


def bench(quick: bool) -> Result:
    """A fresh gateway, one client after another, each on a line of its own."""
    count = TURN * (20 if quick else 500)
    spent: dict[str, list[float]] = {stage: [] for stage in STAGES}
    rig = Rig(count)
    out, logs.LINES._out = logs.LINES._out, io.StringIO()
    logs.configure()
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(app.COLLECT_EVERY)
    try:
        turns(rig, range(count), spent)
    finally:
        logs.LINES._out = out
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    whole = [sum(stages) for stages in zip(*spent.values(), strict=True)]
    rows = [(stage, STAGES[stage], shown(values, 1)) for stage, values in spent.items()]
    table = Shown(
        f"exchange: CPU µs an exchange, {count:,} new clients, {TURN} a turn; median [min…max] of the turns",
        ("", "", "µs"),
        [*rows, ("all", "", shown(whole, 1))],
        (f"Journals: {_journal_octets(rig.engine.journal)} octets of memory a session; {FULL} at most.",),
    )
    return Result([table], samples={f"{stage} us": values for stage, values in spent.items()})
