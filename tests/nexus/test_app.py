"""The service as it is run: who is let on, who may ask what, what is answered when the answer is no."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nexus.service import Client, Events, Nexus, running
from wayleave.lab.waiting import wait_until
from wayleave.nexus import certificates
from wayleave.nexus.access import MOST_BODY

NOT_LET_ON = (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)


@pytest.fixture(scope="module")
def nexus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nexus]:
    with running(tmp_path_factory.mktemp("nexus")) as nexus:
        yield nexus


def test_a_gateway_has_the_hold_of_its_certificate(nexus: Nexus) -> None:
    held = nexus.client("node", "bng1").ask("POST", "/v1/hold/renew", {"epoch": 0})
    assert (held.status, held.body) == (200, {"epoch": 1, "beat": 0, "duration": 24 * 3600 * 10**9, "blocks": []})
    again = nexus.client("node", "bng1").ask("POST", "/v1/hold/renew", {"epoch": 1})
    assert (again.status, again.body["beat"]) == (200, 1)
    other = nexus.client("node", "bng2").ask("POST", "/v1/hold/renew", {"epoch": 1})
    assert (other.status, other.problem) == (409, "fenced")
    assert other.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("role", ["provider", "operator", "auditor"])
def test_a_hold_is_for_gateways(nexus: Nexus, role: str) -> None:
    answer = nexus.client(role, f"{role}1").ask("POST", "/v1/hold/renew", {"epoch": 0})
    assert (answer.status, answer.problem) == (403, "forbidden")


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("/v1/hold/renew", b"{", 422, "invalid"),
        ("/v1/hold/renew", {"epoch": "1"}, 422, "invalid"),
        ("/v1/hold/renew", b"", 422, "invalid"),
        ("/v1/hold/claim", {"epoch": 0, "pool": "nowhere"}, 404, "absent"),
        ("/v1/hold/claim", {"epoch": 0, "pool": "nowhere", "count": 0}, 400, "refused"),
        ("/v1/nowhere", {}, 404, "absent"),
        ("/v1/hold/renew", b" " * (MOST_BODY + 1), 413, "too-large"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_a_problem(nexus: Nexus, path: str, body: object, status: int, problem: str) -> None:
    answer = nexus.client("node", "bng3").ask("POST", path, body)
    assert (answer.status, answer.problem) == (status, problem)
    assert answer.body["detail"]


def test_without_a_certificate_there_is_no_connection(nexus: Nexus) -> None:
    nobody = Client(nexus.port, ssl.create_default_context(cafile=nexus.authority / "ca.pem"))
    with pytest.raises(NOT_LET_ON):
        nobody.ask("POST", "/v1/hold/renew", {"epoch": 0})
    assert refused(nexus, "PEER_DID_NOT_RETURN_A_CERTIFICATE")


def refused(nexus: Nexus, reason: str) -> bool:
    """Whether somebody was not let on for a reason, as its metrics tell."""
    return f'wayleave_nexus_handshakes_refused_total{{reason="{reason}"}}' in nexus.metrics()


def test_a_certificate_of_another_authority_is_refused(nexus: Nexus, tmp_path: Path) -> None:
    certificates.init(tmp_path, "Lab CA", 2)
    theirs = certificates.issue(tmp_path, "operator", "mallory", (), 1)
    with pytest.raises(NOT_LET_ON):
        Client(nexus.port, nexus.context(theirs)).ask("POST", "/v1/hold/renew", {"epoch": 0})


def test_an_expired_certificate_is_refused(nexus: Nexus) -> None:
    late = certificates.issue(nexus.authority, "node", "late", (), -1)
    with pytest.raises(NOT_LET_ON):
        Client(nexus.port, nexus.context(late)).ask("POST", "/v1/hold/renew", {"epoch": 0})
    assert refused(nexus, "CERTIFICATE_VERIFY_FAILED")
    (said,) = [json.loads(line) for line in nexus.process.output().splitlines() if "expired" in line]
    assert (said["event"], said["why"]) == ("not-let-on", "certificate has expired")


def test_a_servers_certificate_is_none_of_a_client(nexus: Nexus) -> None:
    own = Client(nexus.port, nexus.context(nexus.authority / "nexus.pem"))
    with pytest.raises(NOT_LET_ON):
        own.ask("POST", "/v1/hold/renew", {"epoch": 0})


def test_a_gateways_certificate_is_no_servers(nexus: Nexus) -> None:
    gateways = certificates.issue(nexus.authority, "node", "localhost", (), 1)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(gateways, gateways.with_suffix(".key"))
    ours, theirs = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
    client = nexus.context(gateways).wrap_bio(*ours, server_hostname="localhost")
    posing = server.wrap_bio(*theirs, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    theirs[0].write(ours[1].read())
    with pytest.raises(ssl.SSLWantReadError):
        posing.do_handshake()
    ours[0].write(theirs[1].read())
    with pytest.raises(ssl.SSLCertVerificationError):
        client.do_handshake()


def test_who_asks_too_often_is_told_when_to_ask_again(tmp_path: Path) -> None:
    limits = "[nexus.limits]\nrate = 1\nburst = 3"
    with running(tmp_path, f'store = "sqlite:state.sqlite"\n{limits}') as nexus:
        client = nexus.client("node", "bng1")
        answers = [client.ask("POST", "/v1/hold/renew", {"epoch": 0}) for _ in range(5)]
        assert [answer.status for answer in answers[:3]] == [200] * 3
        last = answers[-1]
        assert (last.status, last.problem, last.headers["retry-after"]) == (429, "too-many", "1")
        assert nexus.client("node", "bng2").ask("POST", "/v1/hold/renew", {"epoch": 0}).status == 200


def test_it_stops_when_told_to_and_has_kept_what_it_acknowledged(tmp_path: Path) -> None:
    with running(tmp_path) as nexus:
        client = nexus.client("node", "bng1")
        assert client.ask("POST", "/v1/hold/renew", {"epoch": 0}).body["epoch"] == 1
        nexus.process.signal(signal.SIGTERM)
        assert nexus.process.wait() == 0
        nexus.start()
        assert client.ask("POST", "/v1/hold/renew", {"epoch": 1}).body["beat"] == 1
        nexus.process.kill()
        nexus.start()
        assert client.ask("POST", "/v1/hold/renew", {"epoch": 1}).body["beat"] == 2


def test_a_hold_that_nobody_renews_ends(tmp_path: Path) -> None:
    with running(tmp_path, 'store = "sqlite:state.sqlite"\nhold = "1s"\ngrace = "0s"') as nexus:
        client = nexus.client("node", "bng1")
        client.ask("POST", "/v1/hold/renew", {"epoch": 0})
        wait_until(lambda: "hold-ended" in nexus.process.output(), nexus.process.output)
        assert client.ask("POST", "/v1/hold/renew", {"epoch": 1}).problem == "fenced"


def test_what_changes_is_told_as_it_happens_and_to_who_comes_back(nexus: Nexus) -> None:
    operator, gateway = nexus.client("operator", "ops"), nexus.client("node", "watched")
    with Events(operator, "/v1/changes?prefix=nodes") as events:
        began, kind, _ = events.next()
        assert kind == "alive"
        gateway.ask("POST", "/v1/hold/renew", {"epoch": 0})
        first, told = events.change()
        assert (told, first > began) == ([{"name": "watched", "value": {"epoch": 1}}], True)
    gateway.ask("POST", "/v1/hold/renew", {"epoch": 0})
    with Events(operator, "/v1/changes?prefix=nodes", {"Last-Event-ID": str(first)}) as events:
        second, told = events.change()
        assert told == [{"name": "watched", "value": {"epoch": 2}}]
    with Events(operator, f"/v1/changes?prefix=nodes&after={began}") as events:
        assert events.change()[0] in (first, second)


def test_silence_is_broken(nexus: Nexus) -> None:
    with Events(nexus.client("node", "quiet"), "/v1/view/changes") as events:
        (first, *_), (second, *_) = events.next(), events.next()
        assert second >= first


def test_a_revision_that_is_not_known_is_to_be_listed_anew(nexus: Nexus) -> None:
    answer = nexus.client("node", "bng1").ask("GET", "/v1/view/changes?after=1000000")
    assert (answer.status, answer.problem) == (410, "compacted")
    answer = nexus.client("node", "bng1").ask("GET", "/v1/view?at=1000000")
    assert (answer.status, answer.problem) == (410, "compacted")


def test_streams_end_when_it_stops(tmp_path: Path) -> None:
    with running(tmp_path) as nexus, Events(nexus.client("node", "bng1"), "/v1/view/changes") as events:
        events.next()
        nexus.process.signal(signal.SIGTERM)
        assert events.rest() == []
        assert nexus.process.wait() == 0
        said = [json.loads(line)["event"] for line in nexus.process.output().splitlines()]
        assert said == ["serving", "stopped"]


def test_who_reads_nothing_of_its_stream_is_let_go(nexus: Nexus) -> None:
    operator = nexus.client("operator", "ops")
    before = streams(nexus)
    with Events(operator, "/v1/changes?prefix=nodes") as events:
        events.next()
        assert streams(nexus) == before + 1
    wait_until(lambda: streams(nexus) == before, "end of the stream")


def streams(nexus: Nexus) -> int:
    """How many listen, as its metrics tell."""
    (line,) = [each for each in nexus.metrics().splitlines() if each.startswith("wayleave_nexus_streams ")]
    return int(float(line.split()[1]))


def test_what_a_gateway_tells_operators_see(nexus: Nexus) -> None:
    gateway, operator = nexus.client("node", "telling"), nexus.client("operator", "ops")
    gateway.ask("POST", "/v1/hold/renew", {"epoch": 0})
    said = {
        "version": "1",
        "sessions": 7,
        "pools": [{"pool": "r", "held": 7, "size": 250}],
        "at": "2026-11-28T13:00:00Z",
    }
    assert gateway.ask("PUT", "/v1/node/state", said).status == 204
    told = operator.ask("GET", "/v1/nodes/telling").body
    assert (told["name"], told["epoch"], told["holds"]) == ("telling", 1, True)
    assert {key: told["state"][key] for key in said} == said
    everybody = operator.ask("GET", "/v1/nodes?limit=1000").body["items"]
    assert told in everybody
    assert operator.ask("GET", "/v1/nodes/nobody").problem == "absent"
    assert gateway.ask("GET", "/v1/nodes").problem == "forbidden"
    assert gateway.ask("PUT", "/v1/node/state", {**said, "at": "today"}).problem == "invalid"


def test_of_an_address_the_latest_report_counts(nexus: Nexus) -> None:
    gateway, auditor = nexus.client("node", "telling"), nexus.client("auditor", "auditor1")

    def tell(subscriber: str, state: str, second: int) -> int:
        item = {"subscriber": subscriber, "address": "100.64.0.2", "pool": "r", "state": state}
        return gateway.ask(
            "POST", "/v1/node/report", {"items": [{**item, "at": f"2026-11-28T13:00:{second:02}Z"}]}
        ).status

    def whose() -> tuple[str, str]:
        told = auditor.ask("GET", "/v1/addresses/r/100.64.0.2").body
        return told["subscriber"], told["state"]

    assert tell("alice", "began", 1) == 204
    assert whose() == ("alice", "began")
    assert tell("bob", "began", 9) == 204
    assert [tell("alice", "ended", 5), tell("alice", "began", 1)] == [204, 204]
    assert whose() == ("bob", "began")
    assert tell("bob", "ended", 10) == 204
    assert whose() == ("bob", "ended")
    assert auditor.ask("GET", "/v1/addresses/r/100.64.0.3").problem == "absent"


def test_the_document_describes_every_record(nexus: Nexus) -> None:
    document = nexus.client("operator", "ops").ask("GET", "/openapi.json").body
    renew = document["paths"]["/v1/hold/renew"]["post"]
    assert renew["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Renew"}
    assert {"Renew", "Held", "Claim", "Claimed", "GiveBack", "NodeView"} <= set(document["components"]["schemas"])
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            answers = [status for status in said["responses"] if status.startswith("2")]
            assert answers, (path, method)
            assert list(said["responses"]["default"]["content"]) == ["application/problem+json"]
