"""Two configurations compared: each difference in words, and whether it needs a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.test_load import GOOD, NEXUS, RADIUS
from wayleave.aaa.local import Subscriber
from wayleave.config.changes import NAMED, changes, password_changes, subscriber_changes
from wayleave.config.load import load
from wayleave.config.schema import Configuration
from wayleave.net.secret import Secret


def read(folder: Path, text: str) -> Configuration:
    file = folder / "bng.toml"
    file.write_text(text)
    return load(file).settings


OTHER = '[[pools]]\nname = "other"\nnetwork = "10.0.0.0/24"\ngateway = "10.0.0.1"\n'
RESERVED = 'lease = "30m"\nreservations = [{address = "100.64.0.9", line = "1:7"}]'
CHANGES: dict[str, tuple[str, str, list[tuple[str, bool]]]] = {
    "nothing": ("# a comment", "", []),
    "a duration": ('lease = "30m"', 'lease = "90s"', [('pools[residential].lease: "30m" → "90s"', False)]),
    "a list": ('lease = "30m"', 'dns = ["9.9.9.9"]\nlease = "30m"', [
        ('pools[residential].dns: [] → ["9.9.9.9"]', False)]),
    "a text": ('lease = "30m"', 'lease = "30m"\ndomain = "x"', [('pools[residential].domain: absent → "x"', False)]),
    "a reservation": ('lease = "30m"', RESERVED, [("pools[residential].reservations[1:7]: is new", False)]),
    "a pool": ("[authorization]", f"{OTHER}[authorization]", [("pools[other]: is new", False)]),
    "a level": ("[authorization]", '[log]\nlevel = "error"\n[authorization]', [
        ('log.level: "info" → "error"', False)]),
    "a rate": ("[authorization]", "[punt.new]\npps = 1\nburst = 1\n[authorization]", [
        ("punt.new.pps: 10000 → 1", False), ("punt.new.burst: 10000 → 1", False)]),
    "a boolean": ('name = "bng1"', 'name = "bng1"\nkernel_dhcp = false', [
        ("gateway.kernel_dhcp: true → false", False)]),
    "a size": ('name = "bng1"', 'name = "bng1"\nsessions = 99', [("gateway.sessions: 65536 → 99", True)]),
    "a name": ('name = "bng1"', 'name = "bng2"', [('gateway.name: "bng1" → "bng2"', True)]),
    "a device": ('device = "eth1"', 'device = "eth9"', [('ports[1].device: "eth1" → "eth9"', True)]),
    "options": ('lease = "30m"', 'lease = "30m"\noptions = {interface-mtu = 1400, log-servers = ["10.0.0.9"]}', [
        ("pools[residential].options.interface-mtu: absent → 1400", False),
        ('pools[residential].options.log-servers: absent → ["10.0.0.9"]', False)]),
    "ranges": ('lease = "30m"', 'lease = "1h"\nexclude = ["100.64.0.9", "100.64.1.0-100.64.1.9"]', [
        ('pools[residential].exclude: [] → ["100.64.0.9", "100.64.1.0-100.64.1.9"]', False),
        ('pools[residential].lease: "30m" → "1h"', False)]),
    "a number": ("number = 100", "number = 101", [("ports[101]: is new", False), ("ports[100]: is gone", False)]),
    "a limit": ('role = "subscriber"', 'role = "subscriber"\nclients = 1', [("ports[1].clients: 8 → 1", False)]),
    "a tenant": ("[authorization]", '[[tenants]]\nname = "default"\n[[tenants]]\nname = "b"\n[authorization]', [
        ("tenants[b]: is new", True)]),
    "where Nexus is": ("[authorization]", f"{NEXUS}[authorization]", [("nexus: is new", True)]),
    "a service": ("[authorization]", '[[tenants]]\nname = "default"\nservices = ["udp/53"]\n[authorization]', [
        ('tenants[default].services: [] → ["udp/53"]', False)]),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_difference_is_told_with_its_path_and_whether_it_needs_a_restart(tmp_path: Path, what: str) -> None:
    was, put, expected = CHANGES[what]
    old = read(tmp_path, f"# a comment\n{GOOD}")
    new = read(tmp_path, f"# a comment\n{GOOD}".replace(was, put))
    assert [(str(change), bool(change.restart)) for change in changes(old, new)] == expected


def test_rates_and_lengths_of_time_are_told_as_the_file_has_them(tmp_path: Path) -> None:
    gold = '[[services]]\nname = "gold"\nup = "2.5M"\ndown = "100M"\nsession_timeout = "2h"\n[authorization]'
    quick = '[[services]]\nname = "gold"\ndown = "200M"\nburst_down = 20000\nsession_timeout = "90s"\n[authorization]'
    old, new = (read(tmp_path, GOOD.replace("[authorization]", text)) for text in (gold, quick))
    assert [str(change) for change in changes(old, new)] == [
        'services[gold].up: "2.5M" → absent',
        'services[gold].down: "100M" → "200M"',
        "services[gold].burst_down: absent → 20000",
        'services[gold].session_timeout: "2h" → "90s"',
    ]


def test_a_nexus_that_is_another_or_gone_is_told(tmp_path: Path) -> None:
    old, gone = read(tmp_path, GOOD + NEXUS), read(tmp_path, GOOD)
    new = read(tmp_path, GOOD + NEXUS.replace('"bng1.pem"', '"bng2.pem"'))
    assert [(str(change), bool(change.restart)) for change in (*changes(old, new), *changes(old, gone))] == [
        ('nexus.certificate: "bng1.pem" → "bng2.pem"', True),
        ("nexus: is gone", True),
    ]


def people(*names: str, **settings: object) -> list[Subscriber]:
    return [Subscriber.model_validate({"name": name, "circuit": name, **settings}) for name in names]


def test_subscribers_are_compared_by_who_is_meant() -> None:
    found = subscriber_changes(people("a", "b", "c"), [*people("b", "new"), *people("c", limit=2)])
    assert list(map(str, found)) == [
        "subscribers[new]: is new",
        "subscribers[a]: is gone",
        "subscribers[c]: has changed",
    ]
    assert not any(change.restart for change in found)


def test_many_subscribers_are_told_by_their_number() -> None:
    found = subscriber_changes([], people(*map(str, range(NAMED + 1))))
    assert list(map(str, found)) == [f"subscribers: {NAMED + 1}: each is new"]


def test_passwords_are_compared_by_whose_they_are_and_told_without_them() -> None:
    old, new = (
        {"a": Secret(b"1st"), "b": Secret(b"2nd"), "c": Secret(b"3rd")},
        {"b": Secret(b"2nd"), "c": Secret(b"4th")},
    )
    found = password_changes(old, {**new, "d": Secret(b"5th")})
    assert list(map(str, found)) == [
        "authorization.secrets[d]: is new",
        "authorization.secrets[a]: is gone",
        "authorization.secrets[c]: has changed",
    ]
    assert not any(change.restart for change in found)


def test_what_a_restart_takes_is_told_of_each(tmp_path: Path) -> None:
    def restart(was: str, put: str) -> str:
        (change,) = changes(read(tmp_path, GOOD), read(tmp_path, GOOD.replace(was, put)))
        return change.restart

    name = 'name = "bng1"'
    assert restart(name, f"{name}\nsessions = 99") == "needs a restart, which traffic survives"
    assert "`bng stop`, which ends its traffic" in restart(name, 'name = "bng2"')


def test_a_restart_for_radius_says_what_becomes_of_whom_the_other_let_on(tmp_path: Path) -> None:
    local, asking = (read(tmp_path, GOOD + radius) for radius in (RADIUS.replace('radius = "isp"\n', ""), RADIUS))
    ((come,), (gone,)) = changes(local, asking), changes(asking, local)
    assert (come.path, gone.path) == ("tenants[default].radius",) * 2
    assert come.restart == "needs a restart; who was let on by [authorization] is asked about anew there"
    assert gone.restart == "needs a restart; who was let on by RADIUS servers stays until its session ends"
