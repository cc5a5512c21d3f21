"""Single units over HTTP: what is repeated gives nothing more, what is not renewed ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nexus.service import Answer, Client, Nexus, running
from wayleave.lab.waiting import wait_until
from wayleave.nexus.allocations import SHORTEST_S

POOL = {"name": "wifi", "kind": "ipv4", "space": "100.64.0.0/28", "block": 4, "tenant": "isp"}
VLANS = {"name": "vlans", "kind": "vlan", "space": "100-109.1-4000", "block": 1000, "tenant": "isp"}


@pytest.fixture(scope="module")
def nexus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nexus]:
    with running(tmp_path_factory.mktemp("nexus"), 'store = "sqlite:state.sqlite"\ngrace = "0s"') as nexus:
        yield nexus


@pytest.fixture(scope="module")
def operator(nexus: Nexus) -> Client:
    operator = nexus.client("operator", "ops")
    for pool in (POOL, VLANS):
        assert operator.ask("PUT", f"/v1/pools/{pool['name']}", pool, {"If-None-Match": "*"}).status == 200
    return operator


def asked(client: Client, key: str, **what: object) -> Answer:
    return client.ask("POST", "/v1/allocations", {"pool": "wifi", **what}, {"Idempotency-Key": key})


def test_one_is_given_told_and_taken_back(operator: Client) -> None:
    given = asked(operator, "1", holder="alice", mode="session")
    assert given.status == 201
    where = given.headers["location"]
    assert where == f"/v1/allocations/{given.body['id']}"
    told = operator.ask("GET", where)
    assert (told.status, told.body) == (200, given.body)
    assert given.body in [item["record"] for item in operator.ask("GET", "/v1/allocations?pool=wifi").body["items"]]
    assert operator.ask("DELETE", where).status == 204
    for method, path in (("DELETE", where), ("GET", where), ("POST", f"{where}/renew")):
        assert operator.ask(method, path).problem == "absent"


def test_what_is_repeated_gives_nothing_more(operator: Client) -> None:
    first = asked(operator, "1", holder="bob", mode="sticky")
    assert asked(operator, "1", holder="bob", mode="sticky").body == first.body
    another = asked(operator, "2", holder="bob", mode="sticky").body
    assert (another["unit"], another["id"] != first.body["id"]) == (first.body["unit"], True)
    missing = operator.ask("POST", "/v1/allocations", {"pool": "wifi", "holder": "bob", "mode": "sticky"})
    assert (missing.status, missing.problem) == (422, "invalid")


def test_a_unit_by_its_name_of_any_kind(operator: Client) -> None:
    given = asked(operator, "1", pool="vlans", holder="line-7", mode="reservation", unit="104.2001")
    assert (given.status, given.body["unit"]) == (201, "104.2001")
    taken = asked(operator, "2", pool="vlans", holder="line-8", mode="reservation", unit="104.2001")
    assert (taken.status, taken.problem) == (409, "exists")
    assert asked(operator, "3", pool="vlans", holder="line-8", mode="reservation", unit="7").problem == "invalid"
    assert asked(operator, "4", pool="nowhere", holder="line-8", mode="reservation").problem == "absent"


def test_a_gateway_does_not_get_what_nexus_handed_out(nexus: Nexus, operator: Client) -> None:
    unit = asked(operator, "1", holder="carol", mode="reservation").body["unit"]
    gateway = nexus.client("node", "bng1")
    epoch = gateway.ask("POST", "/v1/hold/renew", {"epoch": 0}).body["epoch"]
    blocks = gateway.ask("POST", "/v1/hold/claim", {"epoch": epoch, "pool": "wifi", "count": 4}).body["blocks"]
    index = int(unit.rpartition(".")[2]) // 4
    assert blocks
    assert index not in [block["index"] for block in blocks]
    theirs = asked(operator, "1", holder="dora", mode="reservation", unit=blocks[0]["first"])
    assert (theirs.status, theirs.problem) == (409, "exists")
    assert "bng1" in theirs.body["detail"]


def test_what_nobody_renews_ends(operator: Client) -> None:
    given = asked(operator, "1", pool="vlans", holder="eve", mode="ttl", ttl=SHORTEST_S)
    assert given.body["ttl"] == SHORTEST_S
    where = f"/v1/allocations/{given.body['id']}"
    assert operator.ask("POST", f"{where}/renew").body == given.body
    wait_until(lambda: operator.ask("GET", where).status == 404, "an allocation that has ended", 3 * SHORTEST_S)


def test_nexus_itself_is_no_gateway(operator: Client) -> None:
    asked(operator, "1", holder="gina", mode="session")
    assert "nexus" not in [item["name"] for item in operator.ask("GET", "/v1/nodes").body["items"]]
    assert operator.ask("GET", "/v1/nodes/nexus").problem == "absent"


@pytest.mark.parametrize("role", ["node", "provider", "auditor"])
def test_they_are_the_operators(nexus: Nexus, operator: Client, role: str) -> None:
    other = nexus.client(role, f"{role}1")
    assert asked(other, "1", holder="alice", mode="session").problem == "forbidden"
    assert other.ask("DELETE", "/v1/allocations/wifi.0.1").problem == "forbidden"
    assert other.ask("POST", "/v1/allocations/wifi.0.1/renew").problem == "forbidden"
    assert other.ask("GET", "/v1/allocations?pool=wifi").status == (200 if role == "auditor" else 403)
    assert operator.ask("GET", "/v1/allocations?pool=wifi").status == 200


def test_who_gave_what_is_on_record(nexus: Nexus, operator: Client) -> None:
    given = asked(operator, "1", pool="vlans", holder="frank", mode="session").body
    operator.ask("DELETE", f"/v1/allocations/{given['id']}")
    records = nexus.client("auditor", "eve").ask("GET", "/v1/audit?limit=1000").body["items"]
    unit = f"unit/vlans/{int(given['id'].split('.')[1], 16):016x}"
    told = [change["value"] for record in records for change in record["changes"] if change["key"] == unit]
    assert ["frank" in value for value in told] == [True, False]
