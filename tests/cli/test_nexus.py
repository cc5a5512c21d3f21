"""The `nexus` command: certificates, the configuration, and what an operator sees of a service that runs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import structlog

from tests.nexus.service import HERE, Nexus, running
from wayleave.cli import terminal
from wayleave.cli.nexus import main
from wayleave.nexus.audit import record_key
from wayleave.nexus.store.port import Put
from wayleave.nexus.store.sqlite import SqliteStore

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def nexus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nexus]:
    with running(tmp_path_factory.mktemp("nexus")) as nexus:
        yield nexus


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Yield what runs a command line, and returns its exit status, and what it says on both outputs."""
    monkeypatch.setattr(terminal, "program", "bng")  # and puts that back
    logging = structlog.get_config()

    def told(*words: object) -> tuple[int, str, str]:
        with mock.patch.object(sys, "argv", ["nexus", *map(str, words)]), pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    yield told
    structlog.configure(**logging)


def as_(nexus: Nexus, role: str, name: str) -> tuple[str, Path]:
    """Return the words that say that it is somebody who asks."""
    nexus.client(role, name)
    file = nexus.folder / f"{name}.toml"
    file.write_text(
        f'server = "https://{HERE}:{nexus.port}"\n'
        f'certificate = "ca/{name}.pem"\nkey = "ca/{name}.key"\nca = "ca/ca.pem"\n'
    )
    return "--client", file


def test_an_authority_is_made_and_issues_what_nexus_runs_with(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    assert run("certs", "init", folder) == (0, f"{folder / 'ca.pem'}\n", "")
    for words in (
        ("server", "--name", "n1", "--address", "127.0.0.1", "--address", "n1.x"),
        ("node", "--name", "bng1"),
    ):
        assert run("certs", "issue", folder, "--role", *words) == (0, f"{folder / words[2]}.pem\n", "")
    status, out, err = run("certs", "issue", folder, "--role", "node", "--name", "bng1")
    assert (status, out) == (1, "")
    assert err == f"nexus: {folder / 'bng1.key'}: is there already, and is not written over\n"
    assert run("certs", "issue", folder, "--role", "node", "--name", "bng1", "--again")[0] == 0
    status, _, err = run("certs", "issue", folder, "--role", "node", "--name", "a/b")
    assert (status, err.startswith("nexus: --name: 'a/b' is no name")) == (2, True)


def test_a_configuration_is_checked(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "nexus.toml"
    file.write_text('[nexus]\ncertificate = "a"\nkey = "b"\nca = "c"\nstore = "sqlite:d"\n')
    assert run("check", file) == (0, f"{file}: good\n", "")
    file.write_text('[nexus]\ncertificate = "a"\nkey = "b"\n')
    assert run("check", file) == (
        2, "", f"{file}: nexus.ca: is missing\n"
        f'{file}: nexus.store: say one of store = "sqlite:PATH" and a section [nexus.etcd]\n2 problems\n',
    )  # fmt: skip
    assert run("serve", "--config", file)[0] == 2


def test_what_keeps_it_from_serving_is_said(run: Run, nexus: Nexus, tmp_path: Path) -> None:
    text = nexus.file.read_text().replace('"ca/', f'"{nexus.authority}/')
    file = tmp_path / "nexus.toml"
    file.write_text(text)
    status, _, err = run("serve", "--config", file)
    assert (status, err) == (
        1, f"nexus: nexus.listen: cannot listen at {HERE}:{nexus.port}: Address already in use\n"
    )  # fmt: skip
    file.write_text(text.replace("nexus.key", "nexus.pem"))
    assert "nexus.key: " in run("serve", "--config", file)[2]
    file.write_text(text.replace(str(nexus.port), "1").replace(str(nexus.local), "2").replace("state.sqlite", ""))
    assert run("serve", "--config", file)[0] == 2


def test_gateways_are_shown(run: Run, nexus: Nexus) -> None:
    gateway = nexus.client("node", "bng1")
    gateway.ask("POST", "/v1/hold/renew", {"epoch": 0})
    state = {"version": "1.2", "sessions": 7, "pools": [], "at": "2026-11-28T13:00:00Z"}
    gateway.ask("PUT", "/v1/node/state", state)
    operator = as_(nexus, "operator", "ops")
    status, out, err = run("show", "nodes", *operator)
    assert (status, err) == (0, "")
    assert out.split()[:6] == ["name", "epoch", "holds", "sessions", "version", "heard"]
    assert "bng1  1      yes    7         1.2" in out
    (told,) = json.loads(run("show", "nodes", "--json", *operator)[1])
    assert (told["name"], told["state"]["sessions"]) == ("bng1", 7)
    assert json.loads(run("show", "nodes", "bng1", "--json", *operator)[1]) == told
    assert run("show", "nodes", "bng9", *operator) == (1, "", "nexus: there is no node bng9\n")


def test_an_empty_audit_is_whole(run: Run, nexus: Nexus) -> None:
    auditor = as_(nexus, "auditor", "eve")
    assert run("audit", "verify", *auditor) == (0, "whole: 0 records; the last is 0:\n", "")
    assert run("audit", "verify", "--known", "1:ab", *auditor)[0] == 1
    assert run("audit", "verify", "--known", "one", *auditor)[0] == 2


def test_who_may_not_is_told(run: Run, nexus: Nexus) -> None:
    assert run("show", "nodes", *as_(nexus, "node", "bng1")) == (
        1, "", "nexus: node bng1 may not ask this: it is for operator and auditor\n"
    )  # fmt: skip


def test_what_is_not_said_or_makes_no_sense_is_told(run: Run, nexus: Nexus, tmp_path: Path) -> None:
    operator = as_(nexus, "operator", "ops")
    assert run("show", "nodes", "--client", tmp_path / "none") == (
        2, "", f"nexus: {tmp_path / 'none'}: No such file or directory\n"
    )  # fmt: skip
    (tmp_path / "half").write_text('server = "https://127.0.0.1:1"\n')
    status, _, err = run("show", "nodes", "--client", tmp_path / "half")
    assert (status, err.startswith("nexus: --certificate, --key, --ca: not said")) == (2, True)
    (tmp_path / "half").write_text("servers = 1\n")
    assert "servers: there is server, certificate, key and ca" in run("show", "nodes", "--client", tmp_path / "half")[2]
    assert run("show", "nodes", *operator, "--server", f"http://{HERE}:{nexus.port}")[0] == 2
    status, _, err = run("show", "nodes", *operator, "--server", f"https://{HERE}:1")
    assert (status, f"nothing listens at {HERE}:1" in err) == (2, True)
    assert (
        run("show", "blocks", *operator)[2]
        == "nexus: --pool POOL says of which pool blocks and allocations are; others are of none\n"
    )
    assert run("put", "pool", "x", "block", *operator)[2] == "nexus: block: write KEY=VALUE\n"
    assert run("shw")[2] == "nexus: there is no command shw: is show meant? `nexus --help` says what there is\n"


def test_records_are_made_changed_and_deleted(run: Run, nexus: Nexus) -> None:
    operator = as_(nexus, "operator", "ops")

    def did(*words: str) -> str:
        status, out, err = run(*words, *operator)
        assert (status, err) == (0, ""), err
        return out

    assert did("put", "pool", "p1", "kind=ipv4", "space=10.9.0.0/16", "block=256", "tenant=t") == "made pool p1\n"
    assert did("put", "provider", "isp", "tenant=t", "pool=p1", 'realms=["isp.example"]') == "made provider isp\n"
    assert did("put", "provider", "isp", "service=gold") == "changed provider isp\n"
    assert did("put", "line", "l1", "node=bng1", "port=1", "svid=100") == "made line l1\n"
    assert did("put", "subscriber", "smith", "provider=isp", "line=l1", "limit=3") == "made subscriber smith\n"
    assert did("put", "subscriber", "smith", "limit=", "blocked=true") == "changed subscriber smith\n"
    told = json.loads(did("show", "subscribers", "smith", "--json"))
    assert {key: value for key, value in told.items() if value} == {
        "name": "smith", "provider": "isp", "line": "l1", "blocked": True,
    }  # fmt: skip
    assert "isp   t       p1    gold     isp.example" in did("show", "providers")
    status, _, err = run("delete", "provider", "isp", *operator)
    assert (status, "it has subscribers: smith" in err) == (1, True)
    assert did("delete", "subscriber", "smith") == "deleted subscriber smith\n"
    assert run("delete", "subscriber", "smith", *operator) == (1, "", "nexus: there is no subscriber smith\n")
    status, _, err = run("put", "pool", "p2", "kind=ipx", *operator)
    assert (status, "kind" in err) == (2, True)


def test_single_units_are_given_shown_and_taken_back(run: Run, nexus: Nexus) -> None:
    operator = as_(nexus, "operator", "ops")
    assert run("put", "pool", "vlans", "kind=vlan", "space=100-109", "block=5", "tenant=isp", *operator)[0] == 0
    status, out, err = run("allocate", "vlans", "l1", "--unit", "107", "--json", *operator)
    assert (status, err) == (0, "")
    given = json.loads(out)
    assert (given["unit"], given["holder"], given["mode"]) == ("107", "l1", "reservation")
    limited = json.loads(run("allocate", "vlans", "guest", "--mode", "ttl", "--ttl", "1h", "--json", *operator)[1])
    assert limited["ttl"] == 3600
    table = run("show", "allocations", "--pool", "vlans", *operator)[1]
    assert given["id"] in table
    assert limited["id"] in table
    assert json.loads(run("show", "allocations", given["id"], "--json", *operator)[1]) == given
    assert run("release", given["id"], *operator) == (0, f"released {given['id']}\n", "")
    status, out, err = run("release", given["id"], *operator)
    assert (status, out) == (1, "")
    assert "or none any more" in err
    status, out, err = run("allocate", "vlans", "l2", "--mode", "ttl", "--ttl", "soon", *operator)
    assert (status, out) == (2, "")
    assert err.startswith("nexus: --ttl: ")
    assert "--pool POOL says of which pool" in run("show", "allocations", *operator)[2]


def test_an_audit_that_somebody_altered_is_found(run: Run, tmp_path: Path) -> None:
    with running(tmp_path) as nexus:
        operator = as_(nexus, "operator", "ops")
        for number in range(1, 5):
            run("put", "line", f"l{number}", "node=bng1", f"port={number}", *operator)
        status, out, _ = run("audit", "verify", *operator)
        assert (status, out.startswith("whole: 4 records; the last is 4:")) == (0, True)
        known = out.split()[-1]
        assert run("audit", "verify", "--known", known, *operator) == (0, out, "")
        assert run("audit", "verify", "--known", f"3:{known[2:]}", *operator)[0] == 1
        table = run("show", "audit", *operator)[1]
        assert table.count(" operator  ops   ") == 4
        nexus.process.stop()
        asyncio.run(altered(tmp_path / "state.sqlite", 2, b'"name":"ops"', b'"name":"eve"'))
        nexus.start()
        assert run("audit", "verify", *operator) == (
            1, "", "nexus: the audit is not whole: record 2 was altered: its hash is not that of its text\n"
        )  # fmt: skip


async def altered(path: Path, number: int, this: bytes, that: bytes) -> None:
    """Write something else into a record, as who has the file can."""
    store = SqliteStore(path)
    entry = await store.get(record_key(number))
    assert entry is not None
    assert this in entry.value
    await store.commit([], [Put(entry.key, entry.value.replace(this, that))])
    await store.close()
