"""The service as it is run: who is let on, who may ask what, what is answered when the answer is no."""

from __future__ import annotations

import http.client
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nexus.service import Client, Nexus, running
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


def test_a_certificate_of_another_authority_is_refused(nexus: Nexus, tmp_path: Path) -> None:
    certificates.init(tmp_path, "Lab CA", 2)
    theirs = certificates.issue(tmp_path, "operator", "mallory", (), 1)
    with pytest.raises(NOT_LET_ON):
        Client(nexus.port, nexus.context(theirs)).ask("POST", "/v1/hold/renew", {"epoch": 0})


def test_an_expired_certificate_is_refused(nexus: Nexus) -> None:
    late = certificates.issue(nexus.authority, "node", "late", (), -1)
    with pytest.raises(NOT_LET_ON):
        Client(nexus.port, nexus.context(late)).ask("POST", "/v1/hold/renew", {"epoch": 0})


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
