"""Whatever is asked, the answer is no fault: every route, with values that make no sense in each place."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.nexus.service import HERE, WITHIN_S, Client, Nexus, running

TEXTS = ["", "\0", "a\0b", "a/b", "..", "é", "a" * 600, "\ud800", " ", "null", "%", "a\nb"]
NUMBERS = [-1, 0, 1 << 31, 1 << 63, 10**400, 1.5, float("1e308")]
VALUES: list[Any] = [*TEXTS, *NUMBERS, None, True, [], {}, [[]], {"a": {}}]
NAMES = [quote(text, safe="", errors="surrogatepass") for text in TEXTS if text] + ["%ff", "%2e%2e"]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/hold/renew": {"epoch": 0},
    "/v1/hold/claim": {"epoch": 1, "pool": "home", "count": 1},
    "/v1/hold/give-back": {"epoch": 1, "beat": 0, "pool": "home", "index": 0, "fence": 1},
    "/v1/node/state": {"version": "1", "sessions": 1, "pools": [], "at": "2026-11-28T13:00:00Z"},
    "/v1/node/report": {"items": [{"subscriber": "a", "address": "100.64.0.1", "pool": "home", "state": "began",
                                   "at": "2026-11-28T13:00:00Z"}]},
    "/v1/pools/{name}": {"name": "x", "kind": "ipv4", "space": "10.0.0.0/8", "block": 256, "unit": 0, "tenant": "t"},
    "/v1/providers/{name}": {"name": "x", "tenant": "t", "pool": "p", "service": "s", "realms": ["r.example"]},
    "/v1/lines/{name}": {"name": "x", "node": "bng1", "port": 1, "svid": 1, "cvid": 1, "circuit": "c", "ont": "o"},
    "/v1/subscribers/{name}": {"name": "x", "provider": "isp", "line": "l", "mac": "02:00:00:00:00:01", "user": "u",
                               "realm": "r", "address": "100.64.0.1", "pool": "p", "limit": 1},
    "/v1/allocations": {"pool": "home", "holder": "h", "mode": "ttl", "unit": "100.64.0.9", "ttl": 60},
}  # fmt: skip
NEW = {"If-None-Match": "*", "Idempotency-Key": "k"}


class Fast(Client):
    """Asks everything on one connection, and again on another where that was closed."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.port, client.context)
        self._connection = http.client.HTTPSConnection(HERE, self.port, timeout=WITHIN_S, context=self.context)

    def status(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
        kind = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, body, {**kind, **(headers or {})})
        answer = self._connection.getresponse()
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.close()
            self._connection.close()
        else:
            answer.read()
        return answer.status

    def __enter__(self) -> Fast:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def nexus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nexus]:
    limits = "[nexus.limits]\nrate = 100000\nburst = 100000"
    with running(tmp_path_factory.mktemp("nexus"), f'store = "sqlite:state.sqlite"\n{limits}') as nexus:
        operator = nexus.client("operator", "ops")
        for path, record in (
            ("pools/home", {"name": "home", "kind": "ipv4", "space": "100.64.0.0/22", "block": 64, "tenant": "isp"}),
            ("providers/isp", {"name": "isp", "tenant": "isp", "pool": "home"}),
            ("lines/l", {"name": "l", "node": "bng1", "port": 1}),
        ):
            assert operator.ask("PUT", f"/v1/{path}", record, NEW).status == 200
        nexus.client("node", "bng1").ask("POST", "/v1/hold/renew", {"epoch": 0})
        yield nexus


def client_of(nexus: Nexus, path: str) -> Fast:
    of_gateways = path.startswith(("/v1/hold", "/v1/view")) or path in ("/v1/node/state", "/v1/node/report")
    return Fast(nexus.client(*("node", "bng1") if of_gateways else ("operator", "ops")))


def operations(nexus: Nexus) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield every operation of the document, and what it is told."""
    for path, methods in nexus.client("operator", "ops").ask("GET", "/openapi.json").body["paths"].items():
        for method, said in methods.items():
            yield path, method.upper(), said.get("parameters", [])


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_every_body_is_tried(nexus: Nexus) -> None:
    bodied = {path for path, method, _ in operations(nexus) if method in ("PUT", "POST")}
    assert bodied == {*BODIES, "/v1/allocations/{identity}/renew"}  # which has none


def test_no_name_and_no_question_makes_a_fault(nexus: Nexus) -> None:
    for path, method, parameters in operations(nexus):
        body = encoded(BODIES[path]) if path in BODIES else None
        with client_of(nexus, path) as client:
            for target in targets(path, parameters):
                assert client.status(method, target, body, NEW) < 500, (method, target)
    assert '"fault"' not in nexus.process.output()


def targets(path: str, parameters: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a path with bad names in all its places, and with bad values of each parameter."""
    if "{" in path:
        yield from (re.sub(r"\{.*?\}", lambda _, name=name: name, path) for name in NAMES)  # type: ignore[misc]
    for parameter in parameters:
        if parameter["in"] == "query":
            for value in NAMES + [str(number) for number in NUMBERS]:
                yield f"{re.sub('[{}]', '', path)}?{parameter['name']}={value}"


@pytest.mark.parametrize("path", BODIES)
def test_no_body_makes_a_fault(nexus: Nexus, path: str) -> None:
    good = BODIES[path]
    method = "PUT" if "{name}" in path or "state" in path else "POST"
    target = path.replace("{name}", "x")
    items = good["items"][0] if "items" in good else good
    bad = [{**items, key: value} for key in items for value in VALUES]
    bodies = [encoded(value) for value in VALUES]
    bodies += [encoded({"items": [each]} if "items" in good else each) for each in bad]
    bodies += [b"{", b"[" * 10_000, b'{"a":' * 10_000, b"\xff", b'{"epoch":1e999}', b'{"epoch":NaN}', b"1" * 5000]
    with client_of(nexus, path) as client:
        for body in bodies:
            assert client.status(method, target, body, NEW) < 500, body[:200]
    assert '"fault"' not in nexus.process.output()
