"""The API as HTTP: what is refused is said in words, and no answer holds the loop for 5 ms."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from tests.api.test_search import table
from tests.fakes.clock import FakeClock
from tests.yardstick import TRIES, adding
from wayleave.api.routes import application
from wayleave.api.search import LOOK, PAGE
from wayleave.config.load import FILES_MAX
from wayleave.net.units import BootNs


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The API of a gateway with twice as many sessions as one answer looks at."""
    counters = SimpleNamespace(seen=lambda _id: BootNs(1), renewed=lambda _id: BootNs(0))
    plane = SimpleNamespace(counters=counters)
    gateway: Any = SimpleNamespace(table=table(range(2 * LOOK)), plane=plane, clock=FakeClock())
    return application(gateway, gateway)


async def get(app: FastAPI, path: str, query: str = "") -> tuple[int, Any]:
    """Ask the application itself; returns the status and what it says."""
    said: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    await app(scope, receive, send)
    return said[0]["status"], json.loads(said[1]["body"])


async def post(app: FastAPI, path: str, pieces: list[bytes], kind: bytes = b"") -> tuple[int, Any]:
    """The same with a body, which comes in pieces."""
    said: list[Any] = []
    left = list(pieces)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"content-type", kind)]
    await app({"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}, receive, send)
    return said[0]["status"], json.loads(said[1]["body"])


@pytest.mark.parametrize(
    ("pieces", "status", "says"),
    [
        ([b"{"], 422, "the body is no configuration: "),
        ([b'{"gateway": {"path": "x", "text": 5}}'], 422, "the body is no configuration: "),
        ([bytes(FILES_MAX), b"0"], 413, "a configuration of more than 64 MiB is not planned"),
    ],
)
def test_what_is_no_configuration_is_not_planned(app: FastAPI, pieces: list[bytes], status: int, says: str) -> None:
    answered, told = asyncio.run(post(app, "/plan", pieces))
    assert (answered, told["detail"][: len(says)]) == (status, says)


def test_a_page_says_where_to_go_on(app: FastAPI) -> None:
    status, page = asyncio.run(get(app, "/sessions", "limit=3&after=10"))
    assert status == 200
    assert [item["id"] for item in page["sessions"]] == [11, 12, 13]
    assert page["after"] == 13


@pytest.mark.parametrize("query", ["mac=02:00", "address=home", "line=first", "phase=asleep", "limit=0", "after=x"])
def test_what_makes_no_sense_is_not_answered_with_an_empty_list(app: FastAPI, query: str) -> None:
    status, said = asyncio.run(get(app, "/sessions", query))
    assert status == 422
    assert query.split("=")[0] in str(said["detail"])


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("/sessions", "limit=0", 'limit: must be at least 1, not "0"'),
        ("/sessions", "limit=many&after=x", 'after: must be a whole number, not "x"; limit: must be a whole number, '
                                            'not "many"'),
        ("/sessions", "phase=asleep", 'phase: must be "authorizing", "allocating", '),
        ("/diagnose", "to=home", "to: 'home' is not an IPv4 address: write it as 100.64.0.2"),
        ("/journals", "", "mac: is missing"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_in_words(app: FastAPI, path: str, query: str, says: str) -> None:
    status, said = asyncio.run(get(app, path, query))
    assert (status, said["detail"][: len(says)]) == (422, says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"frame": "00"}', "say the port that the frame comes in by"),
        (b'{"session": 1}', "a packet needs a sender"),
        (b'{"session": 1, "destination": "home"}', "destination: 'home' is not an IPv4 address: write it as"),
        (b'{"session": 1, "destination": "1.1.1.1", "dport": 70000}', "dport: must be at most 65535, not 70000"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_in_words(app: FastAPI, body: bytes, says: str) -> None:
    status, said = asyncio.run(post(app, "/explain", [body], b"application/json"))
    assert (status, said["detail"][: len(says)]) == (422, says)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("mac=02:ff:ff:ff:ff:ff", 0),
        ("address=10.0.0.1", 0),
        ("line=1:100.4094", 0),
        ("subscriber=nobody", 0),
        (f"limit={LOOK}", PAGE),
        (f"limit={LOOK}&after={LOOK - PAGE}&line=1:100", PAGE),
    ],
)
def test_no_answer_holds_the_loop(app: FastAPI, query: str, found: int) -> None:
    async def least() -> float:
        held = []
        for _ in range(TRIES):
            start = time.thread_time()
            _, page = await get(app, "/sessions", query)
            held.append(time.thread_time() - start)
            assert len(page["sessions"]) == found
            assert page["after"] is not None
        return min(held)

    assert asyncio.run(least()) < adding(200_000)
