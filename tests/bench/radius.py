"""RADIUS: the client alone, and new sessions through a FreeRADIUS on the same machine.

The client alone asks a responder that decides nothing: so many questions are always under way, each of them encoded,
signed, sent, answered, matched and verified. New sessions are those of perfdhcp, as in `control`: DISCOVER, a question
to FreeRADIUS and its answer, OFFER, REQUEST, the lease and its Start on the disk, ACK, and the Start at FreeRADIUS.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import socket
import time
from ipaddress import IPv4Address

import uvloop

from wayleave.aaa import request
from wayleave.aaa.request import Caller, Subject
from wayleave.io.clock import Clock
from wayleave.io.radius import Sockets
from wayleave.lab.access_node import Line
from wayleave.lab.radius import SECRET, RadiusServer
from wayleave.lab.topology import Lab
from wayleave.net.mac import Mac
from wayleave.net.secret import Secret
from wayleave.proto.radius.exchange import Exchange, Server
from wayleave.proto.radius.packet import Code, decode, response
from wayleave.session import model

from .control import NO_POLICERS, POOL, RELAY, Load, Run, highest, roomy_sockets
from .report import Aim, Result, Table, Wrong, shown

IN_FLIGHT = 1000
CLIENT_AIM, SESSIONS_AIM = 8_000, 1_500


def _respond(sock: socket.socket) -> None:
    """Accept everything."""
    while True:
        data, sender = sock.recvfrom(4096)
        sock.sendto(response(decode(data), Code.ACCESS_ACCEPT, [(25, b"class")], SECRET.encode()), sender)


async def _ask(port: int, seconds: float) -> tuple[int, float]:
    """Return how many questions were answered, and the CPU seconds that took."""
    clock, loop = Clock(), asyncio.get_running_loop()
    server = Server(name="r", secret=Secret(SECRET.encode()), channels=8)
    exchange = Exchange(Code.ACCESS_REQUEST, [server], os.urandom)
    caller = Caller(identifier="nas", gateway="bng")
    of = Subject(model.Client(model.Line(1, 100, 7), Mac(b"\2\0\0\0\0\1")), "bng")
    done, answered, serial = loop.create_future(), 0, 0
    before = resource.getrusage(resource.RUSAGE_SELF)

    def ask() -> None:
        nonlocal serial
        serial += 1
        exchange.ask(serial, lambda _at, hide: request.access(of, caller, "0000000100000001", hide, None), clock.boot())

    def turn() -> None:
        nonlocal answered
        found = len(exchange.outcomes())
        answered += found
        for _ in range(found):
            ask()
        sockets.send(exchange.take())

    def expire() -> None:
        exchange.expire(clock.boot())
        turn()
        loop.call_later(0.1, expire)

    def receive(channel: object, data: bytes) -> None:
        exchange.receive(channel, data, clock.boot())  # type: ignore[arg-type]

    sockets = Sockets([(IPv4Address("127.0.0.1"), port, 8)], None, receive, turn)
    sockets.listen(loop)
    for _ in range(IN_FLIGHT):
        ask()
    turn()
    expire()
    loop.call_later(seconds, done.set_result, None)
    await done
    spent = resource.getrusage(resource.RUSAGE_SELF)
    sockets.close()
    return answered, spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime


def alone(seconds: float) -> tuple[float, float]:
    """Return answered questions a second, and µs of CPU each."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", 0))
        responder = multiprocessing.get_context("fork").Process(target=_respond, args=(sock,), daemon=True)
        responder.start()
        began = time.monotonic()
        answered, cpu = uvloop.run(_ask(sock.getsockname()[1], seconds))
        took = time.monotonic() - began
        responder.kill()
        responder.join()
    if not answered:
        raise Wrong("nothing was answered")
    return answered / took, cpu * 1e6 / answered


def through(rates: range, seconds: int, sessions: int) -> tuple[int, list[Run]]:
    """Return the highest clean rate of new sessions a second, and all runs."""
    users = "DEFAULT Auth-Type := Accept\n\tClass = 0x01\n"
    with roomy_sockets(), Lab([Line()]) as lab:
        RadiusServer(lab.router, users, watched=False)
        secret = lab.folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        more = f"""
[[radius.servers]]
name = "r1"
address = "192.0.2.2"
secret = "{secret}"

[[radius.groups]]
name = "isp"
servers = ["r1"]
pool = "residential"
"""
        config = lab.config(
            gateway={"sessions": sessions},
            tenant={"radius": "isp"},
            subscriber={"clients": 1_000_000, "relays": [str(RELAY)]},
            pool=POOL,
            more=NO_POLICERS + more,
        )
        process = lab.gateway.start(config, timeout=60)
        return highest(Load(lab, process, lambda: lab.gateway.get("/counters")["loop_lag_us"]), rates, seconds)


def bench(quick: bool) -> Result:
    """The client, then the whole way, `quick` once and briefly."""
    rounds, seconds = (1, 1.0) if quick else (5, 4.0)
    rates = range(500, 1001, 500) if quick else range(500, 4001, 500)
    found = [alone(seconds) for _ in range(rounds)]
    step_s = 2 if quick else 5
    top, runs = through(rates, step_s, 2 * sum(rates) * step_s + 1000)
    per_second, cpu = [one[0] for one in found], [one[1] for one in found]
    tables = [
        Table(
            f"radius: the client alone, {IN_FLIGHT:,} questions under way, 8 sources",
            ("", "answers/s", "µs of CPU"),
            [("client", shown(per_second), shown(cpu))],
        ),
        Table(
            "radius: new sessions through FreeRADIUS on this machine, every session accounted, durability full",
            ("begun/s", "completed/s", "lost %", "offer p50/p99 ms", "ack p50/p99 ms", "bng µs of CPU each"),
            [
                (
                    f"{run.rate:,}",
                    f"{run.completed:,.0f}",
                    f"{100 * run.lost:.2f}",
                    f"{run.delays_ms['DISCOVER-OFFER p50']:g} / {run.delays_ms['DISCOVER-OFFER p99']:g}",
                    f"{run.delays_ms['REQUEST-ACK p50']:g} / {run.delays_ms['REQUEST-ACK p99']:g}",
                    f"{run.cpu_us:.0f}",
                )
                for run in runs
            ],
            (f"Highest rate at which fewer than 1 in 1,000 were lost: {top:,} a second.",),
        ),
    ]
    aims = [
        Aim("client alone, answers/s", sorted(per_second)[len(per_second) // 2], CLIENT_AIM),
        Aim("new sessions through FreeRADIUS a second", top, SESSIONS_AIM),
    ]
    samples = {"client answers/s": per_second, "client cpu us": cpu, "completed/s": [run.completed for run in runs]}
    return Result(tables, aims, samples)
