"""Sockets toward servers, and from controllers, on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
import uvloop

from wayleave.io.radius import DynauthSocket, RadiusError, Sockets
from wayleave.proto.radius.exchange import Channel, Datagram

HERE = IPv4Address("127.0.0.1")


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_each_channel_has_a_port_of_its_own_and_hears_its_server_alone(server: socket.socket) -> None:
    got: list[tuple[Channel, bytes]] = []
    port = server.getsockname()[1]

    async def talk() -> Sockets:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        sockets = Sockets(
            {0: (HERE, port, 2)},
            None,
            lambda channel, data: got.append((channel, data)),
            lambda: done.set_result(None) if len(got) == 2 and not done.done() else None,
        )
        sockets.listen(loop)
        for place in (0, 1):
            sockets.send(Datagram(Channel(0, place), b"question %d" % place))
        asked = dict(server.recvfrom(100) for _ in range(2))
        assert len(set(asked.values())) == 2
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"a lie", ("127.0.0.1", asked[b"question 0"][1]))
        for question, sender in asked.items():
            server.sendto(b"answer to " + question, sender)
        await asyncio.wait_for(done, 5)
        sockets.unlisten(loop)
        sockets.close()
        return sockets

    sockets = uvloop.run(talk())
    assert sorted(got) == [(Channel(0, place), b"answer to question %d" % place) for place in (0, 1)]
    assert sockets.strange == 1


def test_what_the_kernel_does_not_take_is_counted_and_nothing_is_raised() -> None:
    sockets = Sockets({0: (IPv4Address("255.255.255.255"), 1812, 1)}, None, lambda *_: None, lambda: None)
    sockets.send(Datagram(Channel(0, 0), b"question"))
    sockets.close()
    assert sockets.unsent == 1


def test_an_address_that_is_not_the_machines_is_refused_in_words() -> None:
    with pytest.raises(RadiusError, match=r"192.0.2.77: .*: it has to be an address of the gateway"):
        Sockets({0: (HERE, 1812, 1)}, IPv4Address("192.0.2.77"), lambda *_: None, lambda: None)


def test_a_port_that_is_taken_is_refused_in_words(server: socket.socket) -> None:
    with pytest.raises(RadiusError, match="is another program there"):
        DynauthSocket(HERE, server.getsockname()[1], lambda *_: None, lambda: None)


def test_a_controller_is_answered_from_the_address_that_it_asked(server: socket.socket) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        listens = DynauthSocket(None, 0, lambda _source, data: data, lambda: done.set_result(None))
        listens.listen(loop)
        port = listens._socket.getsockname()[1]
        server.sendto(b"abc", ("127.0.0.9", port))
        await asyncio.wait_for(done, 5)
        listens.unlisten(loop)
        listens.close()
        assert server.recvfrom(100) == (b"abc", ("127.0.0.9", port))

    asyncio.run(serve())


def test_a_controller_is_answered_where_it_asked_from(server: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        listens = DynauthSocket(HERE, port, lambda _source, data: data[::-1], lambda: done.set_result(None))
        listens.listen(loop)
        server.sendto(b"abc", ("127.0.0.1", port))
        await asyncio.wait_for(done, 5)
        listens.unlisten(loop)
        listens.close()

    uvloop.run(serve())
    assert server.recv(100) == b"cba"
