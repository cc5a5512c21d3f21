"""Connections toward a TLS server on this machine: what is wrong with it is said in words, and it is tried again."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import uvloop

from wayleave.io.clock import Clock
from wayleave.io.radsec import Connections, End
from wayleave.io.secrets import SecretError
from wayleave.io.tls import client_context
from wayleave.lab.radsec import Authority
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, Ns
from wayleave.proto.radius.exchange import Answered, Exchange, Server, Unanswered
from wayleave.proto.radius.packet import Code, decode, response

HERE = IPv4Address("127.0.0.1")
SECRET = Secret(b"radsec")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class World:
    """An exchange with one server behind TLS, and the server: `serve` is what it does with a connection."""

    def __init__(self, authority: Authority, certificate: tuple[Path, Path]) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.context.load_verify_locations(authority.certificate)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.serve: Serve = answers
        self.exchange = Exchange(
            Code.ACCESS_REQUEST, [Server(name="r1", secret=SECRET, reliable=True, tries=1)], lambda count: bytes(count)
        )
        self.clock = Clock().boot
        self.served = 0
        self.listener: asyncio.Server | None = None
        self._changed = asyncio.Event()

    async def listen(self, port: int = 0, tls: bool = True) -> int:
        self.listener = await asyncio.start_server(self._serve, str(HERE), port, ssl=self.context if tls else None)
        return int(self.listener.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            await self.serve(reader, writer)
        writer.close()

    def connect(self, port: int, authority: Authority, certificate: tuple[Path, Path], **how: object) -> None:
        known = {
            "name": "r1",
            "address": HERE,
            "port": port,
            "channels": 1,
            "context": client_context(*certificate, authority.certificate, "r1"),
            "server_name": str(HERE),
            "secret": SECRET,
            "silence": Ns(SECOND),
            "probes": True,
        }
        end = End(**(known | how))  # type: ignore[arg-type]
        self.connections = Connections({0: end}, HERE, self.exchange, "access", self.clock, self._done)
        self.connections.listen(asyncio.get_running_loop())

    def _done(self) -> None:
        for datagram in self.exchange.take():
            self.connections.send(datagram)
        self._changed.set()

    @property
    def why(self) -> str:
        return self.exchange.peers[0].why

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(15):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def lives(self) -> None:
        await self.until(lambda: not self.exchange.peers[0].dead)

    async def ask(self, key: str) -> None:
        """Ask, and have an answer."""
        self.exchange.ask(key, lambda _at, _hide: [], self.clock())
        self._done()
        found: list[object] = []
        await self.until(lambda: found.extend(self.exchange.outcomes()) or found)
        (outcome,) = found
        assert isinstance(outcome, Answered), outcome
        assert outcome.key == key

    async def close(self) -> None:
        self.connections.unlisten(asyncio.get_running_loop())
        self.connections.close()
        if self.listener is not None:
            self.listener.close()


async def asked(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head[2:], "big") - 4)


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a server does, octet by octet."""
    while True:
        for octet in response(decode(await asked(reader)), Code.ACCESS_ACCEPT, [], SECRET):
            writer.write(bytes((octet,)))
            await writer.drain()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def ours(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("gateway")


Story = Callable[[World], Awaitable[None]]


def play(authority: Authority, certificate: tuple[Path, Path], story: Story) -> None:
    """Play a story on the loop that the gateway has."""

    async def whole() -> None:
        world = World(authority, certificate)
        try:
            await story(world)
        finally:
            await world.close()

    uvloop.run(whole())


def refused(
    authority: Authority, server: tuple[Path, Path], ca: Authority, client: tuple[Path, Path], **how: object
) -> str:
    """Return why a server is not there."""
    said: list[str] = []

    async def story(world: World) -> None:
        world.connect(await world.listen(), ca, client, **how)
        await world.until(lambda: world.why)
        said.append(world.why)
        assert world.exchange.peers[0].dead

    play(authority, server, story)
    return said[0]


def test_asked_and_answered_and_again_after_the_server_was_away(authority: Authority, ours: tuple[Path, Path]) -> None:
    async def story(world: World) -> None:
        port = await world.listen()
        world.connect(port, authority, ours)
        await world.lives()
        await world.ask("one")
        await world.close()
        world.connect(port, authority, ours)
        await world.until(lambda: world.why)
        assert "nothing listens at" in world.why
        await world.listen(port)
        await world.lives()
        await world.ask("two")

    play(authority, authority.issue("server", f"IP:{HERE}"), story)


def test_what_hangs_is_given_up_and_connected_anew(authority: Authority, ours: tuple[Path, Path]) -> None:
    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(response(decode(await asked(reader)), Code.ACCESS_ACCEPT, [], SECRET))
        while await reader.read(100):
            pass

    async def story(world: World) -> None:
        world.serve = hangs
        world.connect(await world.listen(), authority, ours)
        await world.lives()
        world.exchange.ask("lost", lambda _at, _hide: [], world.clock())
        world._done()
        await world.until(lambda: world.why)
        assert world.why == "not a word for 1 seconds"
        (outcome,) = world.exchange.outcomes()
        assert isinstance(outcome, Unanswered)
        assert "not a word" in outcome.why
        world.serve = answers
        await world.lives()
        await world.ask("again")
        assert world.served == 2

    play(authority, authority.issue("server", f"IP:{HERE}"), story)


def test_garbage_ends_the_connection_and_nothing_else(authority: Authority, ours: tuple[Path, Path]) -> None:
    async def babbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async def story(world: World) -> None:
        world.serve = babbles
        world.connect(await world.listen(), authority, ours)
        await world.until(lambda: world.why)
        assert world.why == "what comes is no RADIUS: a packet of 21584 octets"
        world.serve = answers
        await world.lives()

    play(authority, authority.issue("server", f"IP:{HERE}"), story)


def test_a_server_that_others_vouch_for_is_not_believed(authority: Authority, ours: tuple[Path, Path]) -> None:
    server, other = authority.issue("server", f"IP:{HERE}"), Authority(authority.folder)
    assert "of a CA that is not in `ca`" in refused(authority, server, other, ours)
    assert "is not of 127.0.0.1: set server_name" in refused(authority, authority.issue("nameless"), authority, ours)
    elsewhere = refused(authority, server, authority, ours, server_name="radius.example")
    assert "is not of radius.example: set server_name" in elsewhere
    expired = authority.issue("expired", f"IP:{HERE}", days=-1)
    assert "its certificate has expired" in refused(authority, expired, authority, ours)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_does_not_believe_us_says_so(authority: Authority, version: ssl.TLSVersion) -> None:
    """One on OpenSSL itself: the loop's own server says nothing before it hangs up."""
    stranger = Authority(authority.folder, "another").issue("gateway")
    context = client_context(*stranger, authority.certificate, "r1")
    context.maximum_version = version

    async def story(world: World) -> None:
        with socket.create_server((str(HERE), 0)) as listener:
            refusing = asyncio.create_task(asyncio.to_thread(refuse, listener, world.context))
            world.connect(listener.getsockname()[1], authority, stranger, context=context)
            await world.until(lambda: world.why)
            await refusing
        assert world.why == "the server refuses this gateway's certificate: it does not know the CA that it is of"

    play(authority, authority.issue("server", f"IP:{HERE}"), story)


def refuse(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Have one client show its certificate, which is nothing to us."""
    sock, _ = listener.accept()
    with sock, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(sock, server_side=True)


def test_a_server_that_hangs_up_says_less(authority: Authority, ours: tuple[Path, Path]) -> None:
    async def hangs_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    async def story(world: World) -> None:
        world.serve = hangs_up
        world.connect(await world.listen(), authority, ours)
        await world.until(lambda: world.why)
        assert "at once: does it know this gateway's certificate" in world.why

    play(authority, authority.issue("server", f"IP:{HERE}"), story)


def test_a_dns_name(authority: Authority, ours: tuple[Path, Path]) -> None:
    async def story(world: World) -> None:
        world.connect(await world.listen(), authority, ours, server_name="radius.example")
        await world.lives()

    play(authority, authority.issue("server", "DNS:radius.example"), story)


def test_another_secret_and_a_port_without_tls(authority: Authority, ours: tuple[Path, Path]) -> None:
    server = authority.issue("server", f"IP:{HERE}")
    assert "same secret" in refused(authority, server, authority, ours, secret=Secret(b"another"))

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()

    async def story(world: World) -> None:
        world.serve = plain
        world.connect(await world.listen(tls=False), authority, ours)
        await world.until(lambda: world.why)
        assert "does not speak TLS" in world.why

    play(authority, server, story)


def test_files_that_cannot_be_used(authority: Authority, ours: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = ours
    empty = tmp_path / "empty"
    empty.touch(0o600)

    def why(certificate: Path = certificate, key: Path = key, ca: Path = authority.certificate) -> str:
        with pytest.raises(SecretError) as caught:
            client_context(certificate, key, ca, "radius.servers[r1]")
        return str(caught.value)

    assert "r1].ca: " in why(ca=empty)
    assert "write it there, as PEM" in why(ca=empty)
    assert "No such file" in why(certificate=tmp_path / "nothing")
    assert "r1].key: " in why(key=tmp_path / "nothing")
    assert "is not the key of" in why(key=authority.issue("other")[1])
    assert "write it there, as PEM" in why(certificate=empty)
    key.chmod(0o640)
    assert f"can be read by others (mode 640): chmod 600 {key}" in why()
