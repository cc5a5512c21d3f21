"""The configuration of Nexus: what is wrong with it is said at once, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from wayleave.net.units import SECOND
from wayleave.nexus.settings import SettingsError, host_and_port, load

GOOD = """
[nexus]
certificate = "n.pem"
key = "n.key"
ca = "ca.pem"
store = "sqlite:state.sqlite"
"""
ETCD = """
[nexus.etcd]
endpoints = ["192.0.2.1:2379", "[2001:db8::1]:2379", "etcd3.example:2379"]
certificate = "n.pem"
key = "n.key"
ca = "ca.pem"
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "nexus.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as info:
        load(file)
    return [problem.removeprefix(f"{file}: ") for problem in info.value.problems]


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    (tmp_path / "nexus.toml").write_text(GOOD)
    nexus = load(tmp_path / "nexus.toml").nexus
    assert (nexus.listen, nexus.local) == ("0.0.0.0:7443", "127.0.0.1:7444")
    assert (nexus.hold, nexus.grace) == (24 * 3600 * SECOND, 600 * SECOND)
    assert nexus.etcd is None


def test_a_cluster_is_in_etcd(tmp_path: Path) -> None:
    (tmp_path / "nexus.toml").write_text(GOOD.replace('store = "sqlite:state.sqlite"', "") + ETCD)
    etcd = load(tmp_path / "nexus.toml").nexus.etcd
    assert etcd is not None
    assert [host_and_port(each) for each in etcd.endpoints] == [
        ("192.0.2.1", 2379), ("2001:db8::1", 2379), ("etcd3.example", 2379),
    ]  # fmt: skip


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('ca = "ca.pem"', 'lisen = "x"\nlisten = "nowhere"\nhold = "0s"\ngrace = 5')
    assert problems(tmp_path, text + '[nexus.limits]\nrate = 0\n[log]\nlevel = "loud"\n') == [
        'nexus.listen: "nowhere" is no address with a port: write 192.0.2.1:7443 or [2001:db8::1]:7443',
        "nexus.ca: is missing",
        "nexus.hold: must be at least 1s",
        "nexus.grace: 5 is not a length of time: write a number and s, m, h or d, such as 90s or 1h",
        "nexus.limits.rate: must be at least 1, not 0",
        "nexus.lisen: there is no such setting: is listen meant?",
        'log.level: must be "info", "warning" or "error", not "loud"',
    ]


@pytest.mark.parametrize("text", [GOOD + ETCD, GOOD.replace('store = "sqlite:state.sqlite"', "")])
def test_there_is_one_store(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == ['nexus.store: say one of store = "sqlite:PATH" and a section [nexus.etcd]']


@pytest.mark.parametrize("store", ["sqlite:", "/var/lib/nexus.sqlite", "postgres:x"])
def test_a_store_is_named_with_its_kind(tmp_path: Path, store: str) -> None:
    (problem,) = problems(tmp_path, GOOD.replace("sqlite:state.sqlite", store))
    assert problem.startswith(f'nexus.store: "{store}" is no store: write "sqlite:PATH"')


@pytest.mark.parametrize(
    "where", ["127.0.0.1", ":7443", "127.0.0.1:0", "127.0.0.1:65536", "::1:7443", "[::1]", "a b:1"]
)
def test_an_address_has_a_port(tmp_path: Path, where: str) -> None:
    (problem,) = problems(tmp_path, f'{GOOD}local = "{where}"')
    assert problem.startswith("nexus.local: ")


@pytest.mark.parametrize("text", ["", "[nexus", "nexus = 1", "[log]\n", "[[nexus]]\n"])
def test_a_file_that_says_nothing_of_nexus_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "nexus.toml")
