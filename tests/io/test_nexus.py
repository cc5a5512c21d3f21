"""The connection to Nexus, against one that speaks as it should, and against everything else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.nexus import DAY, HERE, FakeNexus, Said, event, good, problem
from tests.io.nexus_world import World, play
from wayleave.io.nexus import PAGE, Compacted, Connection, Fenced, NexusError
from wayleave.io.settings import Server
from wayleave.lab.radsec import Authority
from wayleave.proto.nexus.answers import Change
from wayleave.proto.nexus.messages import Block, Claim, Claimed, GiveBack, Held, Renew

RENEW = Renew(0)
BLOCK = Block("home", 0, "10.0.0.0", "10.0.0.255", 1)


async def refused(world: World, *servers: Server, **how: object) -> str:
    """Ask, and return why there is no answer."""
    connection = world.connect(*servers, **how)  # type: ignore[arg-type]
    with pytest.raises(NexusError) as caught:
        await connection.ask(RENEW)
    return str(caught.value)


async def closed(connection: Connection) -> None:
    """Wait until a connection that nobody uses knows that the server has closed it."""
    (channel,) = connection._idle
    async with asyncio.timeout(5):
        assert await channel._reader.read() == b""


def test_a_hold_is_renewed_blocks_are_claimed_and_given_back_on_one_connection(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        connection = world.connect()
        assert connection.state.why == "it has not been asked yet"
        assert await connection.ask(RENEW) == Held(7, 1, DAY, ())
        assert await connection.ask(Claim(7, "home")) == Claimed((BLOCK,))
        assert await connection.ask(Renew(7)) == Held(7, 2, DAY, (BLOCK,))
        assert await connection.ask(GiveBack(7, 2, "home", 0, 1)) is None
        assert world.nexus.served == 1
        assert (connection.state.server, connection.state.why) == (str(world.server), "")

    play(tmp_path, story)


def test_an_epoch_that_is_over_is_no_failure_of_the_connection(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        connection = world.connect()
        with pytest.raises(Fenced, match="that epoch is over"):
            await connection.ask(Renew(6))
        assert connection.state.why == ""

    play(tmp_path, story)


def test_a_server_that_went_and_came_back_is_asked_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        connection = world.connect()
        await connection.ask(RENEW)
        await world.nexus.close()
        await closed(connection)
        with pytest.raises(NexusError, match=f"nothing listens at {world.server}: is the server up"):
            await connection.ask(RENEW)
        why, since = connection.state.why, connection.state.since
        assert why.startswith("nothing listens")
        with pytest.raises(NexusError):
            await connection.ask(RENEW)
        assert connection.state.since == since
        await world.nexus.open(world.server.port)
        await connection.ask(RENEW)
        assert connection.state.why == ""

    play(tmp_path, story)


def test_a_request_is_sent_once_whatever_becomes_of_it(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def hears_and_goes(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"}"))

    async def story(world: World) -> None:
        world.nexus.instead = hears_and_goes
        connection = world.connect()
        with pytest.raises(NexusError, match="it closed the connection"):
            await connection.ask(Claim(7, "home"))
        assert len(heard) == 1

    play(tmp_path, story)


def test_the_next_server_is_asked_when_one_is_gone_and_from_then_on(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        other, where = await world.another()
        connection = world.connect(world.server, where)
        await connection.ask(RENEW)
        await world.nexus.close()
        await closed(connection)
        await connection.ask(RENEW)
        assert connection.state.server == str(where)
        await world.nexus.open(world.server.port)
        await connection.ask(RENEW)
        assert (len(world.nexus.asked), len(other.asked)) == (1, 2)

    play(tmp_path, story)


def test_a_server_without_its_store_is_left_for_the_next(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        _, where = await world.another()
        connection = world.connect(world.server, where)
        world.nexus.says["/v1/hold/renew"] = problem(503, "unavailable", "the store does not answer")
        with pytest.raises(NexusError, match=f"^{world.server}: the store does not answer$"):
            await connection.ask(RENEW)
        assert connection.state.why == "the store does not answer"
        await connection.ask(RENEW)
        assert (connection.state.server, connection.state.why) == (str(where), "")

    play(tmp_path, story)


def test_one_that_is_not_there_leaves_time_for_the_next(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        with socket.socket() as full:  # takes no connection: its queue is of one, and that is taken
            full.bind((HERE, 0))
            full.listen(0)
            taken = [socket.socket() for _ in range(2)]
            for each in taken:
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            silent = Server(HERE, full.getsockname()[1])
            assert await world.connect(silent, world.server, patience_s=3).ask(RENEW)
            assert "no answer in 0.3 s" in await refused(world, silent, patience_s=0.3)
            for each in taken:
                each.close()

    play(tmp_path, story)


def test_what_tls_refuses_is_told_with_what_to_do(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        (tmp_path / "other").mkdir()
        stranger = Authority(tmp_path / "other", "another CA")
        unknown, expired, misnamed = [
            await world.another(certificate)
            for certificate in (
                stranger.issue("stranger", f"IP:{HERE}"),
                world.authority.issue("old", f"IP:{HERE}", days=-1),
                world.authority.issue("elsewhere", "DNS:elsewhere"),
            )
        ]
        said = {where: await refused(world, where) for _, where in (unknown, expired, misnamed)}
        assert [text.partition(": ")[2] for text in said.values()] == [
            "its certificate is of a CA that is not in `ca`: put that CA's certificate there",
            "its certificate has expired: it needs a new one (or is this machine's clock wrong?)",
            f"its certificate is not of {HERE}: write a name or an address that it has into nexus.servers",
        ]
        ours = await refused(world, ours=stranger.issue("gateway"))
        assert "this gateway's certificate" in ours

    play(tmp_path, story)


PROBLEMS: dict[str, tuple[Said, str]] = {
    "a problem": (problem(404, "absent", "there is no pool home"), "there is no pool home"),
    "a title": ((403, "application/problem+json", b'{"title":"forbidden"}'), "forbidden"),
    "no problem": ((404, "text/html", b"<html>"), "answers 404: is it Nexus that listens there?"),
    "elsewhere": ((302, "", b""), "answers 302: is it Nexus that listens there?"),
    "control characters": (problem(400, "refused", "no \x1b[2J"), r"no \x1b[2J"),
}


@pytest.mark.parametrize("what", PROBLEMS)
def test_a_refusal_is_told_in_the_servers_words_and_the_server_is_kept(tmp_path: Path, what: str) -> None:
    said, why = PROBLEMS[what]

    async def story(world: World) -> None:
        world.nexus.says["/v1/hold/renew"] = said
        connection = world.connect(world.server, (await world.another())[1])
        with pytest.raises(NexusError) as caught:
            await connection.ask(RENEW)
        assert str(caught.value) == f"{world.server}: {why}"
        del world.nexus.says["/v1/hold/renew"]
        await connection.ask(RENEW)
        assert connection.state.server == str(world.server)
        assert world.nexus.served == 1

    play(tmp_path, story)


def hold(**other: object) -> bytes:
    return good({"epoch": 7, "beat": 1, "duration": DAY, "blocks": [], **other})[2]


GARBAGE: dict[str, Said] = {
    "nothing": (200, "application/json", b""),
    "half": (200, "application/json", hold()[:-3]),
    "text": (200, "text/html", hold()),
    "no type": (200, "", hold()),
    "another type": (200, "application/json", hold(epoch="7")),
    "a large number": (200, "application/json", hold().replace(b"7", b"7" * 5000, 1)),
    "no octets of UTF-8": (200, "application/json", hold(blocks=[BLOCK]).replace(b"home", b"\xff")),
    "depth": (200, "application/json", b'{"epoch":' + b"[" * 100_000),
    "no time": (200, "application/json", hold(duration=0)),
    "no content": (204, "", b""),
    "a problem that is none": (500, "application/problem+json", b"[]"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_an_answer_that_makes_no_sense_is_an_error_in_words(tmp_path: Path, what: str) -> None:
    async def story(world: World) -> None:
        world.nexus.says["/v1/hold/renew"] = GARBAGE[what]
        connection = world.connect()
        with pytest.raises(NexusError, match="makes no sense"):
            await connection.ask(RENEW)
        assert "makes no sense" in connection.state.why
        del world.nexus.says["/v1/hold/renew"]
        await connection.ask(RENEW)

    play(tmp_path, story)


def test_blocks_that_nobody_asked_for_are_not_taken(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        connection = world.connect()
        for blocks in ([BLOCK, BLOCK], [Block("other", 0, "10.0.0.0", "10.0.0.255", 1)]):
            world.nexus.says["/v1/hold/claim"] = good({"blocks": blocks})
            with pytest.raises(NexusError, match="other blocks than were asked for"):
                await connection.ask(Claim(7, "home"))

    play(tmp_path, story)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def hostile(*octets: bytes, end: bool = True, endless: bytes = b"") -> Callable[[FakeNexus], None]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        for each in octets:
            writer.write(each)
            await writer.drain()
        while endless:
            writer.write(endless)
            await writer.drain()
            await asyncio.sleep(0)  # noqa: TID251 -- the gateway has the same loop, and `drain` does not always wait
        if not end:
            await reader.read()

    def put(nexus: FakeNexus) -> None:
        nexus.instead = serve

    return put


HOSTILE: dict[str, tuple[Callable[[FakeNexus], None], str]] = {
    "no HTTP": (hostile(b"220 mail.example ESMTP\r\n\r\n"), "no HTTP"),
    "an endless head": (hostile(HEAD, endless=b"x: y\r\n" * 1000), "no HTTP"),
    "an endless line": (hostile(endless=b"H" * 65536), "no HTTP"),
    "an endless body": (hostile(HEAD + b"\r\n", endless=b" " * 65536), "an answer of more than"),
    "endless words before the answer": (hostile(endless=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000), "no answer"),
    "half a body": (hostile(HEAD + b"Content-Length: 100\r\n\r\n" + hold()[:20]), "it closed the connection"),
    "half a head": (hostile(HEAD), "it closed the connection"),
    "nothing": (hostile(), "it closed the connection"),
    "silence": (hostile(end=False), "no answer"),
    "a body that never ends": (hostile(HEAD + b"Content-Length: 100\r\n\r\n" + hold(), end=False), "no answer"),
    "two lengths": (hostile(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), "no HTTP"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_peer_that_is_hostile_is_an_error_in_words(tmp_path: Path, what: str) -> None:
    put, why = HOSTILE[what]

    async def story(world: World) -> None:
        put(world.nexus)
        assert why in await refused(world, patience_s=0.7 if why == "no answer" else 20)
        world.nexus.instead = None
        await world.connect().ask(RENEW)

    play(tmp_path, story)


def test_a_connection_that_the_server_closed_meanwhile_is_made_anew(tmp_path: Path) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(hold()) + hold())
        await writer.drain()

    async def story(world: World) -> None:
        connection = world.connect()
        world.nexus.instead = once
        for served in (1, 2, 3):
            await connection.ask(RENEW)
            assert world.nexus.served == served
            await closed(connection)

    play(tmp_path, story)


async def dies_at_the_second(said: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, and to the next say so much and end."""
    await reader.readuntil(b"}")
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(hold()) + hold())
    await writer.drain()
    await reader.readuntil(b"}")
    writer.write(said)
    await writer.drain()


def test_what_is_asked_on_a_kept_connection_that_dies_without_a_word_is_asked_on_another(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.nexus.instead = partial(dies_at_the_second, b"")
        connection = world.connect()
        for served in (1, 2, 3):
            assert (await connection.ask(RENEW)) == Held(7, 1, DAY, ())
            assert world.nexus.served == served
        assert connection.state.why == ""

    play(tmp_path, story)


def test_what_is_answered_in_half_is_not_asked_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.nexus.instead = partial(dies_at_the_second, HEAD[:20])
        connection = world.connect()
        await connection.ask(RENEW)
        with pytest.raises(NexusError, match="it closed the connection"):
            await connection.ask(RENEW)
        assert world.nexus.served == 1

    play(tmp_path, story)


def test_a_view_is_listed_page_by_page(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        names = [f"s{number:05}" for number in range(2 * PAGE + 7)]
        for name in names:
            world.nexus.put(name, {"name": name})
        view = await world.connect().view()
        assert list(view.entries) == names
        assert view.entries["s00000"] == b'{"name":"s00000"}'
        assert view.revision == world.nexus.revision
        assert world.nexus.asked[1] == f"/v1/view?limit=1000&after=s00999&at={view.revision}"
        world.nexus.says["/v1/view"] = problem(410, "compacted", "too late")
        with pytest.raises(Compacted):
            await world.connect().view()

    play(tmp_path, story)


def test_a_view_is_waited_for_when_nexus_is_busy_and_not_for_ever(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.nexus.put("alice", {"name": "alice"})
        world.nexus.busy = 4
        assert list((await world.connect().view()).entries) == ["alice"]
        world.nexus.busy = 5
        with pytest.raises(NexusError, match="asked too often"):
            await world.connect().view()
        world.nexus.busy = 1
        with pytest.raises(NexusError, match="asked too often"):
            await world.connect().ask(RENEW)

    play(tmp_path, story)


VIEWS: dict[str, object] = {
    "never on": {"entries": [{"name": "a", "value": {}}], "revision": 1, "after": "a"},
    "a name of nothing": {"entries": [{"name": "", "value": {}}], "revision": 1, "after": None},
    "a negative revision": {"entries": [], "revision": -1, "after": None},
    "a revision that no disk has room for": {"entries": [], "revision": 1 << 63, "after": None},
    "no revision": {"entries": []},
    "a list": [],
}


@pytest.mark.parametrize("what", VIEWS)
def test_a_view_that_makes_no_sense_is_an_error_in_words(tmp_path: Path, what: str) -> None:
    async def story(world: World) -> None:
        world.nexus.says["/v1/view"] = good(VIEWS[what])
        with pytest.raises(NexusError, match="makes no sense"):
            await world.connect().view()
        assert len(world.nexus.asked) <= 2

    play(tmp_path, story)


async def first(
    changes: AsyncGenerator[tuple[int, tuple[Change, ...]], None], count: int
) -> list[tuple[int, tuple[Change, ...]]]:
    """The first so many that say something."""
    found = []
    async with aclosing(changes) as stream, asyncio.timeout(10):
        async for item in stream:
            found += [item] if item[1] else []
            if len(found) == count:
                break
    return found


def test_changes_are_told_as_they_come_and_from_where_one_was(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.nexus.put("alice", {"name": "alice"})
        connection = world.connect()
        following = asyncio.create_task(first(connection.changes(1), 3))
        async with aclosing(connection.changes(2)) as stream:
            assert await anext(stream) == (2, ())  # alive
            world.nexus.put("bob", {"name": "bob", "limit": 2})
            world.nexus.put("alice", None)
            assert await following == [
                (2, (("alice", b'{"name": "alice"}'),)),
                (3, (("bob", b'{"name": "bob", "limit": 2}'),)),
                (4, (("alice", None),)),
            ]
        assert await first(connection.changes(3), 1) == [(4, (("alice", None),))]

    play(tmp_path, story)


def test_changes_of_too_long_ago_are_not_to_be_had(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.nexus.compacted = 9
        connection = world.connect()
        with pytest.raises(Compacted):
            await first(connection.changes(3), 1)
        assert connection.state.why == ""

    play(tmp_path, story)


def test_a_nexus_with_another_past_is_told(tmp_path: Path) -> None:
    """It was restored from a backup."""

    async def story(world: World) -> None:
        with pytest.raises(Compacted, match="it is at revision 1, and was at 9"):
            await first(world.connect().changes(9), 1)

    play(tmp_path, story)


STREAMS: dict[str, tuple[list[bytes], str]] = {
    "it ends": ([event("alive", 4, "{}")], "it closed the connection"),
    "no number": ([b"id: x\nevent: alive\ndata: {}\n\n"], "is no revision"),
    "a long number": ([b"id: " + b"9" * 5000 + b"\nevent: alive\ndata: {}\n\n"], "is no revision"),
    "another kind": ([event("news", 4, "{}")], "an event of kind"),
    "no JSON": ([event("changes", 4, "[{")], "makes no sense"),
    "a name of nothing": ([event("changes", 4, '[{"name":"","value":null}]')], "makes no sense"),
    "no event": ([b"data: x" * 1000] * 1000, "an event of more than"),
    "silence": ([event("alive", 4, "{}"), b""], "not a word for 0.3 s"),
}


@pytest.mark.parametrize("what", STREAMS)
def test_a_stream_that_breaks_or_makes_no_sense_is_an_error_in_words(tmp_path: Path, what: str) -> None:
    parts, why = STREAMS[what]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        if parts[-1] == b"":
            await reader.read()

    async def story(world: World) -> None:
        world.nexus.instead = serve
        connection = world.connect(silence_s=0.3 if what == "silence" else 20)
        with pytest.raises(NexusError, match=why):
            await first(connection.changes(3), 1)
        assert why in connection.state.why

    play(tmp_path, story)
