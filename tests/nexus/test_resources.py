"""Pools, providers, lines and subscribers over HTTP: who may see and change which, and what gateways hear of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.nexus.service import Answer, Client, Events, Nexus, running

POOL = {"name": "residential", "kind": "ipv4", "space": "100.64.0.0/20", "block": 256, "tenant": "isp"}
NEW = {"If-None-Match": "*"}


@pytest.fixture(scope="module")
def nexus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nexus]:
    with running(tmp_path_factory.mktemp("nexus")) as nexus:
        yield nexus


@pytest.fixture(scope="module")
def operator(nexus: Nexus) -> Client:
    """Who has made a pool, two providers and two lines."""
    operator = nexus.client("operator", "ops")
    for path, record in (
        ("pools", POOL),
        ("providers", {"name": "isp", "tenant": "isp", "pool": "residential"}),
        ("providers", {"name": "other", "tenant": "other", "pool": "residential", "service": "gold"}),
        ("lines", {"name": "l1", "node": "bng1", "port": 1, "svid": 100, "cvid": 7}),
        ("lines", {"name": "l2", "node": "bng2", "port": 1, "svid": 100}),
    ):
        assert made(operator, path, record).status == 200
    return operator


def made(client: Client, path: str, record: dict[str, Any]) -> Answer:
    return client.ask("PUT", f"/v1/{path}/{record['name']}", record, NEW)


def test_a_change_says_what_was_seen(operator: Client) -> None:
    record = {**POOL, "name": "seen", "space": "100.64.32.0/20"}
    first = made(operator, "pools", record)
    assert (first.status, first.body["block"]) == (200, 256)
    assert made(operator, "pools", record).problem == "exists"
    found = operator.ask("GET", "/v1/pools/seen")
    assert found.headers["etag"] == first.headers["etag"]
    closed = {**record, "closed": True}
    second = operator.ask("PUT", "/v1/pools/seen", closed, {"If-Match": first.headers["etag"]})
    assert (second.status, second.body["closed"]) == (200, True)
    late = operator.ask("PUT", "/v1/pools/seen", record, {"If-Match": first.headers["etag"]})
    assert (late.status, late.problem) == (412, "conflict")
    assert operator.ask("DELETE", "/v1/pools/seen", None, {"If-Match": first.headers["etag"]}).problem == "conflict"
    assert operator.ask("DELETE", "/v1/pools/seen", None, {"If-Match": second.headers["etag"]}).status == 204
    assert operator.ask("GET", "/v1/pools/seen").problem == "absent"


@pytest.mark.parametrize(
    "headers",
    [{}, {"If-Match": "*"}, {"If-Match": '"0"'}, {"If-Match": '"99999999999999999999"'}, {"If-None-Match": '"7"'},
     {"If-Match": '"7"', "If-None-Match": "*"}],
)  # fmt: skip
def test_a_change_that_does_not_say_so_is_refused(operator: Client, headers: dict[str, str]) -> None:
    answer = operator.ask("PUT", "/v1/pools/x", {**POOL, "name": "x"}, headers)
    assert (answer.status, answer.problem) == (400, "refused")


def test_a_record_is_called_as_its_path(operator: Client) -> None:
    answer = operator.ask("PUT", "/v1/pools/x", {**POOL, "name": "y"}, NEW)
    assert (answer.status, answer.problem) == (422, "invalid")


def test_a_list_comes_in_pages(operator: Client) -> None:
    names, after = [], ""
    while after is not None:
        page = operator.ask("GET", f"/v1/lines?limit=1&after={after}").body
        names += [item["record"]["name"] for item in page["items"]]
        after = page["after"]
    assert names == ["l1", "l2"]
    assert operator.ask("GET", "/v1/lines?limit=0").problem == "invalid"


@pytest.mark.parametrize("path", ["pools", "lines", "providers", "subscribers", "nodes", "audit"])
def test_who_may_see_and_change_what(nexus: Nexus, operator: Client, path: str) -> None:
    auditor, gateway = nexus.client("auditor", "eve"), nexus.client("node", "bng1")
    provider = nexus.client("provider", "isp")
    assert operator.ask("GET", f"/v1/{path}").status == 200
    assert auditor.ask("GET", f"/v1/{path}").status == 200
    assert gateway.ask("GET", f"/v1/{path}").problem == "forbidden"
    assert provider.ask("GET", f"/v1/{path}").status == (200 if path == "subscribers" else 403)
    if path in ("nodes", "audit"):
        assert operator.ask("PUT", f"/v1/{path}/x", {}, NEW).status in (404, 405)
        return
    record = {"pools": POOL, "lines": {"name": "x", "node": "n", "port": 1}}.get(path, {"name": "x", "provider": "isp"})
    if path == "providers":
        record = {"name": "x", "tenant": "x", "pool": "x"}
    for client in (auditor, gateway, *(() if path == "subscribers" else (provider,))):
        assert client.ask("PUT", f"/v1/{path}/x", {**record, "name": "x"}, NEW).problem == "forbidden"
        assert client.ask("DELETE", f"/v1/{path}/x").problem == "forbidden"


def test_a_provider_sees_itself_alone(nexus: Nexus, operator: Client) -> None:
    provider = nexus.client("provider", "isp")
    assert provider.ask("GET", "/v1/providers/isp").status == 200
    assert provider.ask("GET", "/v1/providers/other").problem == "absent"
    assert operator.ask("GET", "/v1/providers/other").status == 200


def test_a_provider_has_its_own_subscribers_alone(nexus: Nexus, operator: Client) -> None:
    provider = nexus.client("provider", "isp")
    made(operator, "subscribers", {"name": "theirs", "provider": "other", "user": "theirs"})
    assert made(provider, "subscribers", {"name": "isp.own", "provider": "isp", "user": "own"}).status == 200
    assert [item["record"]["name"] for item in provider.ask("GET", "/v1/subscribers").body["items"]] == ["isp.own"]
    assert provider.ask("GET", "/v1/subscribers/theirs").problem == "absent"
    assert provider.ask("DELETE", "/v1/subscribers/theirs").problem == "absent"
    refused = {"name": "isp.x", "provider": "other", "user": "x"}, {"name": "isp.x", "provider": "isp", "line": "l1"}
    assert [made(provider, "subscribers", record).problem for record in refused] == ["forbidden", "forbidden"]
    assert provider.ask("DELETE", "/v1/subscribers/isp.own").status == 204


def test_a_gateway_hears_of_its_own_subscribers_alone(nexus: Nexus, operator: Client) -> None:
    gateway, another = nexus.client("node", "bng1"), nexus.client("node", "bng2")
    began = gateway.ask("GET", "/v1/view").body["revision"]
    with Events(gateway, f"/v1/view/changes?after={began}") as events, Events(another, "/v1/view/changes") as others:
        record = {"name": "smith", "provider": "isp", "line": "l1"}
        tag = made(operator, "subscribers", record).headers["etag"]
        view = {"name": "smith", "line": "1:100.7", "pool": "residential", "tenant": "isp"}
        made_at, told = events.change()
        assert told == [{"name": "smith", "value": view}]
        listed = gateway.ask("GET", f"/v1/view?at={made_at}").body
        assert (listed["entries"], listed["after"]) == ([{"name": "smith", "value": view}], None)
        assert gateway.ask("GET", f"/v1/view?at={began}").body["entries"] == []

        moved = {**record, "provider": "other"}
        tag = operator.ask("PUT", "/v1/subscribers/smith", moved, {"If-Match": tag}).headers["etag"]
        assert events.change()[1] == [{"name": "smith", "value": {**view, "tenant": "other", "service": "gold"}}]

        provider = operator.ask("GET", "/v1/providers/other")
        silver = {**provider.body, "service": "silver"}
        operator.ask("PUT", "/v1/providers/other", silver, {"If-Match": provider.headers["etag"]})
        assert events.change()[1] == [{"name": "smith", "value": {**view, "tenant": "other", "service": "silver"}}]

        line = operator.ask("GET", "/v1/lines/l1")
        away = {**line.body, "node": "bng2", "svid": 200}
        operator.ask("PUT", "/v1/lines/l1", away, {"If-Match": line.headers["etag"]})
        assert events.change()[1] == [{"name": "smith", "value": None}]
        assert [entry["name"] for entry in others.change()[1]] == ["smith"]

        operator.ask("DELETE", "/v1/subscribers/smith")
        assert others.change()[1] == [{"name": "smith", "value": None}]


def test_what_was_changed_is_on_record_and_what_was_refused_is_not(operator: Client) -> None:
    before = operator.ask("GET", "/v1/audit").body["head"]["number"]
    made(operator, "lines", {"name": "l3", "node": "bng1", "port": 2})
    assert made(operator, "lines", {"name": "l3", "node": "bng1", "port": 2}).status == 409
    page = operator.ask("GET", f"/v1/audit?after={before}").body
    (record,) = page["items"]
    assert (record["number"], record["role"], record["name"]) == (before + 1, "operator", "ops")
    assert "line/l3" in [change["key"] for change in record["changes"]]
    assert page["head"] == {"number": before + 1, "hash": record["hash"]}


def test_a_pool_is_shown_with_who_has_which_block(nexus: Nexus, operator: Client) -> None:
    gateway = nexus.client("node", "bng1")
    epoch = gateway.ask("POST", "/v1/hold/renew", {"epoch": 0}).body["epoch"]
    claimed = gateway.ask("POST", "/v1/hold/claim", {"epoch": epoch, "pool": "residential", "count": 2}).body["blocks"]
    shown = operator.ask("GET", "/v1/blocks?pool=residential").body["items"]
    told = {(item["first"], item["last"], item["node"], item["epoch"], item["fence"]) for item in shown}
    assert told == {(block["first"], block["last"], "bng1", epoch, 1) for block in claimed}
    beat = gateway.ask("POST", "/v1/hold/renew", {"epoch": epoch}).body["beat"]
    block = {key: claimed[0][key] for key in ("pool", "index", "fence")}
    assert gateway.ask("POST", "/v1/hold/give-back", {"epoch": epoch, "beat": beat, **block}).status == 204
    shown = operator.ask("GET", "/v1/blocks?pool=residential").body["items"]
    assert [item["node"] for item in shown].count("bng1") == 1
    assert operator.ask("DELETE", "/v1/pools/residential").problem == "in-use"
    assert operator.ask("GET", "/v1/blocks?pool=nowhere").problem == "absent"
