"""Reading the configuration: every problem at once, each with its path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wayleave.config.load import ConfigurationError, load, read
from wayleave.daemon.derived import derive
from wayleave.io.settings import Server
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND
from wayleave.session.model import Client, Line, Service

GOOD = """
[gateway]
name = "bng1"
state = "/var/lib/wayleave"
api = "/run/wayleave.sock"

[[ports]]
number = 1
device = "eth1"
role = "subscriber"

[[ports]]
number = 100
device = "eth2"
role = "network"

[[pools]]
name = "residential"
network = "100.64.0.0/22"
gateway = "100.64.0.1"
lease = "30m"

[authorization]
default = "residential"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bng.toml"


def problems(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    return [problem.removeprefix(f"{file}: ") for problem in caught.value.problems]


def test_a_good_file_is_read_with_its_defaults(file: Path) -> None:
    file.write_text(GOOD)
    tree, subscribers, _ = load(file)
    assert tree.pools[0].lease == 1800 * SECOND
    assert tree.pools[0].promise == 86400 * SECOND
    assert [tenant.name for tenant in tree.tenants] == ["default"]
    assert tree.ports[0].xdp == "native"
    assert subscribers == ()


def test_every_problem_is_told_at_once_each_with_its_path(file: Path) -> None:
    text = (
        GOOD.replace('lease = "30m"', 'lease = "30 minutes"\ncolour = "red"')
        .replace("number = 1\n", "number = 0\n")
        .replace('role = "network"', 'role = "core"')
        .replace('name = "bng1"\n', "")
    )
    assert problems(file, text) == [
        "gateway.name: is missing",
        "ports[#1].number: must be at least 1, not 0",
        'ports[100].role: must be "subscriber" or "network", not "core"',
        "pools[residential].lease: '30 minutes' is not a length of time: "
        "write a number and s, m, h or d, such as 90s or 1h",
        "pools[residential].colour: there is no such setting",
    ]


def test_contradictions_between_leaves_are_told_together(file: Path) -> None:
    text = (
        GOOD.replace('default = "residential"', 'default = "business"').replace("number = 100", "number = 1")
        + '\n[[pools]]\nname = "other"\ntenant = "nobody"\nnetwork = "100.64.2.0/24"\ngateway = "100.64.2.1"\n'
    )
    assert problems(file, text) == [
        "ports[#2].number: 1 is already ports[#1]'s: give each its own",
        "pools[other].tenant: there is no tenant 'nobody'; there is default",
        "pools[other].network: 100.64.2.0/24 overlaps 100.64.0.0/22 of pools[residential]: no address can be in two",
        "authorization.default: there is no pool 'business'; there is other, residential",
    ]


def test_a_pool_and_who_gets_it_are_of_one_tenant(file: Path, tmp_path: Path) -> None:
    two = GOOD.replace("[[ports]]", '[[tenants]]\nname = "a"\n[[tenants]]\nname = "b"\n[[ports]]', 1)
    two = two.replace('role = "subscriber"', 'role = "subscriber"\ntenant = "b"').replace(
        'role = "network"', 'role = "network"\ntenant = "b"'
    )
    two = two.replace('lease = "30m"', 'lease = "30m"\ntenant = "a"') + 'subscribers = "people.toml"\n'
    (tmp_path / "people.toml").write_text(
        '[[subscribers]]\nname = "x"\nline = "1:1"\ntenant = "b"\n[[subscribers]]\nname = "y"\nline = "1:2"\n'
        '[[subscribers]]\nname = "z"\nline = "1:3"\npool = "residential"\n'
    )
    people = f"{tmp_path / 'people.toml'}: subscribers"
    assert problems(file, two) == [
        f"{people}[x].tenant: is b, but pool residential is tenant a's",
        f"{people}[y].pool: is missing: authorization.default is tenant a's, and port 1 tenant b's: "
        "name a pool of tenant b",
    ]


def test_the_documentations_two_providers_are_one_open_and_one_closed(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "howto" / "two-providers.md"
    gateway, people = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "bng.toml").write_text(gateway)
    (tmp_path / "subscribers.toml").write_text(people)
    loaded = load(tmp_path / "bng.toml")
    local = derive(*loaded).deciders.local

    def gets(line: str) -> tuple[str, str] | None:
        service = local.grant(Client(Line.parse(line), Mac(bytes(6))))
        return (service.tenant, service.pool) if isinstance(service, Service) else None

    assert gets("1:100.1") == ("open", "residential"), "anybody"
    assert gets("2:100.1") is None, "nobody who is not known"
    assert gets("2:100.7") == gets("1:100.7") == ("closed", "members")


@pytest.mark.parametrize(
    ("was", "put", "said"),
    [
        (
            'gateway = "100.64.0.1"',
            'gateway = "10.0.0.1"',
            "pools[residential].gateway: 10.0.0.1 is not a host of 100.64.0.0/22",
        ),
        (
            'gateway = "100.64.0.1"',
            'gateway = "100.64.0.0"',
            "pools[residential].gateway: 100.64.0.0 is not a host of",
        ),
        ('lease = "30m"', 'lease = "30m"\npromise = "20m"', "pools[residential].promise: is shorter than lease"),
        ('lease = "30m"', 'lease = "10s"', "pools[residential].lease: is under 60s"),
        (
            'lease = "30m"',
            'exclude = ["10.0.0.1-10.0.0.9"]',
            "pools[residential].exclude: 10.0.0.1-10.0.0.9 is not inside",
        ),
        ('lease = "30m"', 'exclude = ["100.64.0.9-100.64.0.2"]', "runs backwards"),
        ('lease = "30m"', '[[pools.reservations]]\naddress = "100.64.0.9"', "needs a mac, a line, or both"),
        ('role = "subscriber"', 'role = "subscriber"\nline = "circuit"', "needs trusted = true"),
        ('role = "subscriber"', 'role = "network"', 'there is none with role = "subscriber"'),
        ('"100.64.0.0/22"', '"100.64.0.9/22"', "is an address inside a network: the network is 100.64.0.0/22"),
        ('"100.64.0.0/22"', '"2001:db8::/64"', "'2001:db8::/64', an IPv6 one, is not an IPv4 network: write it as"),
        ('gateway = "100.64.0.1"', 'gateway = "2001:db8::1"', "'2001:db8::1', an IPv6 one, is not an IPv4 address"),
        ('gateway = "100.64.0.1"', "gateway = 5", "pools[residential].gateway: 5 is not an IPv4 address: write it as"),
        ('lease = "30m"', 'exclude = ["100.64.0.2-100.64.3.254"]', "exclude: leaves no address of 100.64.0.0/22"),
        (
            'lease = "30m"',
            'exclude = ["100.64.0.9-100.64.3.254", "100.64.0.2-100.64.0.8"]',
            "exclude: leaves no address",
        ),
        ('lease = "30m"', 'dns = "9.9.9.9"', 'pools[residential].dns: must be a list, in brackets: […], not "9.9.9.9"'),
        ('lease = "30m"', 'leese = "30m"', "pools[residential].leese: there is no such setting: is lease meant?"),
        ("[authorization]", "[PPPoE]\n[authorization]", "PPPoE: there is no such setting: is pppoe meant?"),
        (
            "[authorization]",
            "[pppoe]\nauth = []\n[authorization]",
            "pppoe.auth: there is no such setting: is authentic",
        ),
        (
            "[authorization]",
            "[pppoe]\nmtu = 1400\n[authorization]",
            "pppoe.mtu: there is no such setting: is mru meant",
        ),
        ("[authorization]", "[pppoe]\necho = 3\n[authorization]", ": is echo_interval or echo_failures meant?"),
        ("[authorization]", "[pppoe]\nservices = []\n[authorization]", "pppoe.services: must not be empty"),
        ('lease = "30m"', "options = 5", "pools[residential].options: must be a table of names and values, not 5"),
        ('lease = "30m"', "domain = 5", "pools[residential].domain: must be text, in quotes"),
        ('lease = "30m"', "options = {interface-mtu = 70000}", "interface-mtu: 70000 is not between 0 and 65535"),
        ('lease = "30m"', 'options = {log-servers = ["x"]}', "log-servers: 'x' is not an IPv4 address"),
        ('lease = "30m"', "options = {mtu = 5}", "options.mtu: there is no DHCPv4 option of this name"),
        ('state = "/var', 'state = "var', 'gateway.state: "var/lib/wayleave" depends on where `bng` is started'),
        ('api = "/run', 'api = "run', 'gateway.api: "run/wayleave.sock" depends on where'),
        ('api = "/run', f'api = "/{"x" * 100}', "gateway.api: has 115 octets: the path of a socket has at most 107"),
        ('name = "bng1"', 'name = "bng/1"', "gateway.name: 'bng/1' is no name: write letters, digits"),
        ('name = "bng1"', f'name = "{"b" * 64}"', "gateway.name: must have at most 63 characters"),
        ('name = "bng1"', 'name = "bng1"\ndurability = "none"', 'durability: must be "full" or "normal", not "none"'),
        ('name = "bng1"', 'name = "bng1"\nsessions = "many"', 'sessions: must be a whole number, not "many"'),
        ('name = "bng1"', 'name = "bng1"\nkernel_dhcp = 1', "kernel_dhcp: must be true or false, not 1"),
        ('name = "residential"', 'name = ""', "pools[#1].name: must not be empty"),
        ('device = "eth1"', 'device = "eth1/0"', "ports[1].device: 'eth1/0' is no device's name"),
        ('device = "eth1"', 'device = "eth1"\ntrusted = "yes"', 'ports[1].trusted: must be true or false, not "yes"'),
        ("[gateway]", "gateway = 3\n[other]", "gateway: must be a table, not 3"),
    ],
)
def test_what_cannot_work_is_refused_in_words(file: Path, was: str, put: str, said: str) -> None:
    assert any(said in problem for problem in problems(file, GOOD.replace(was, put)))


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ("224.0.0.0/24", "multicast"), ("127.0.0.0/16", "loopback"), ("240.1.0.0/24", "reserved"),
        ("169.254.77.0/24", "link-local"), ("0.0.0.0/8", '"this network"'), ("192.0.0.0/2", None),
    ],
)  # fmt: skip
def test_a_pool_of_addresses_that_no_client_can_use(file: Path, network: str, why: str | None) -> None:
    gateway = network.split("/")[0][:-1] + "1"
    text = GOOD.replace("100.64.0.0/22", network).replace("100.64.0.1", gateway)
    told = problems(file, text)
    assert any(
        problem.startswith("pools[residential].network: ") and (why or "between /8") in problem for problem in told
    )


STATIC = {
    "100.64.0.1": "is the gateway",
    "100.64.0.0": "is the network's own address",
    "100.64.3.255": "is the broadcast address",
    "100.64.0.15": "is excluded",
    "10.0.0.1": "is not inside 100.64.0.0/22",
}


@pytest.mark.parametrize("address", STATIC)
def test_a_static_address_that_no_client_can_have(file: Path, tmp_path: Path, address: str) -> None:
    (tmp_path / "people.toml").write_text(f'[[subscribers]]\nname = "x"\nline = "1:7"\naddress = "{address}"\n')
    reservation = f'exclude = ["100.64.0.10-100.64.0.20"]\nreservations = [{{address = "{address}", line = "1:8"}}]'
    text = GOOD.replace('lease = "30m"', reservation) + 'subscribers = "people.toml"\n'
    reserved, subscribed = problems(file, text)[:2]
    assert reserved.startswith(f"pools[residential].reservations[1:8].address: {address} {STATIC[address]}")
    assert f"people.toml: subscribers[x].address: {address} " in subscribed


def test_static_addresses_are_given_once(file: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.toml"
    people.write_text('[[subscribers]]\nname = "x"\nline = "1:7"\naddress = "100.64.0.9"\n')
    both = '{address = "100.64.0.9", line = "1:8"}, {address = "100.64.0.9", line = "1:8"}'
    text = GOOD.replace('lease = "30m"', f"reservations = [{both}]") + 'subscribers = "people.toml"\n'
    assert problems(file, text) == [
        "pools[residential].reservations[#2].address: 100.64.0.9 is already reservations[#1]'s",
        "pools[residential].reservations[#2]: is for the same client as reservations[#1]",
        f"{people}: subscribers[x].address: 100.64.0.9 is already reserved in pools[residential]",
    ]


LINES = {
    "1:4094.4094": None,
    "9:100": "there is no port 9; of subscribers there is 1, 2",
    "100:7": 'port 100 is a network port: clients are on those with role = "subscriber"',
    "1:100/door": "port 1 tells no circuits apart: leave out /CIRCUIT-ID",
    "2:100": "port 2 tells lines apart by circuit-id: write 2:100/CIRCUIT-ID",
    "2:100/door": None,
    "1:4095": "'1:4095' has VID 4095: the last one is 4094",
    "1:7.4095": "'1:7.4095' has VID 4095: the last one is 4094",
    "1:0.7": "'1:0.7': VID 0 is no tag: write 1:7",
    "house": "'house' is not a line: write PORT, PORT:SVID",
}


def _reads(line: str) -> bool:
    try:
        return bool(Line.parse(line))
    except ValueError:
        return False


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_no_client_is_on(file: Path, tmp_path: Path, line: str) -> None:
    people = tmp_path / "people.toml"
    people.write_text(f'[[subscribers]]\nname = "x"\nline = "{line}"\n')
    circuits = '[[ports]]\nnumber = 2\ndevice = "eth3"\nrole = "subscriber"\nline = "circuit"\ntrusted = true\n'
    text = GOOD.replace("[[pools]]", f"{circuits}[[pools]]") + 'subscribers = "people.toml"\n'
    text = text.replace('lease = "30m"', f'reservations = [{{address = "100.64.0.9", line = "{line}"}}]')
    expected = LINES[line]
    if expected is None:
        file.write_text(text)
        load(file)
        return
    reserved, subscribed = problems(file, text)
    label = line if _reads(line) else "#1"
    assert reserved.startswith(f"pools[residential].reservations[{label}].line: {expected}")
    assert subscribed.startswith(f"{people}: subscribers[x].line: {expected}")


def test_a_subscriber_who_would_get_nothing_is_told(file: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.toml"
    people.write_text(
        '[[subscribers]]\nname = "x"\nline = "1:7"\n'
        '[[subscribers]]\nname = "y"\nline = "1:8"\nblocked = true\n'
        '[[subscribers]]\nname = "z"\ncircuit = "door"\npool = "residential"\n'
    )
    text = GOOD.replace('default = "residential"', 'subscribers = "people.toml"')
    assert problems(file, text) == [
        f"{people}: subscribers[x].pool: is missing, and so is authorization.default: the subscriber would get nothing",
        f'{people}: subscribers[z].circuit: no port tells lines apart by circuit-id (line = "circuit")',
    ]


def test_a_file_that_is_not_there_or_is_not_toml(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load(file)
    assert "is not TOML" in problems(file, "[gateway")[0]


def test_the_subscribers_file_is_read_beside_it_and_checked_with_it(file: Path, tmp_path: Path) -> None:
    file.write_text(GOOD + 'subscribers = "people.toml"\n')
    people = tmp_path / "people.toml"
    people.write_text(
        '[[subscribers]]\nname = "alice"\nline = "1:100.7"\naddress = "100.64.0.77"\n'
        '[[subscribers]]\nname = "bob"\nmac = "02:00:00:00:00:0b"\nlimit = 2\n'
    )
    found = load(file).subscribers
    assert [(entry.name, str(entry.line), entry.limit) for entry in found] == [
        ("alice", "1:100.7", None),
        ("bob", "None", 2),
    ]
    people.write_text(
        '[[subscribers]]\nname = "alice"\nline = "1:100.7"\naddress = "10.9.9.9"\n'
        '[[subscribers]]\nname = "eve"\nline = "1:100.7"\npool = "none"\n'
        '[[subscribers]]\nname = "nobody"\n'
    )
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert caught.value.problems == [
        f"{people}: subscribers[alice].address: 10.9.9.9 is not inside 100.64.0.0/22 of pool residential",
        f"{people}: subscribers[eve]: is known by the same as subscribers[alice]: tell them apart, or leave one out",
        f"{people}: subscribers[eve].pool: there is no pool 'none'; there is residential",
        f"{people}: subscribers[nobody]: a subscriber is known by user, mac, line or circuit: give at least one",
    ]


def test_several_faults_of_one_pool_are_several_problems_each_with_its_path(file: Path) -> None:
    text = GOOD.replace('gateway = "100.64.0.1"', 'gateway = "10.0.0.1"').replace(
        'lease = "30m"',
        'lease = "10s"\npromise = "5s"\nexclude = ["100.64.0.9", "10.0.0.9"]\n'
        'reservations = [{address = "10.0.0.7", line = "1:1"}]',
    )
    assert problems(file, text) == [
        "pools[residential].gateway: 10.0.0.1 is not a host of 100.64.0.0/22: "
        "write an address of it, such as 100.64.0.1",
        "pools[residential].exclude: 10.0.0.9-10.0.0.9 is not inside 100.64.0.0/22",
        "pools[residential].reservations[1:1].address: 10.0.0.7 is not inside 100.64.0.0/22",
        "pools[residential].lease: is under 60s: clients would do nothing but renew",
        "pools[residential].promise: is shorter than lease: no lease could ever be granted in full",
    ]


FAULTS = {
    "gateway.name: 'bng/1' is no name": ('name = "bng1"', 'name = "bng/1"'),
    "gateway.state: is missing": ('state = "/var/lib/wayleave"', ""),
    "gateway.ring: 100000 is not a power": ('api = "/run', 'ring = 100000\napi = "/run'),
    "ports[#1].role: must be": ('number = 1\ndevice = "eth1"\nrole = "subscriber"',
                               'number = 1\ndevice = "eth1"\nrole = "x"\nline = "circuit"'),
    'ports[#1].line: "circuit" needs trusted': ("", ""),
    "ports[#2].device: eth1 is already ports[#1]'s": ('device = "eth2"', 'device = "eth1"'),
    "ports[#2].number: 1 is already ports[#1]'s": ("number = 100", "number = 1\ntenant = 'gone'"),
    "ports[#2].tenant: there is no tenant 'gone'": ("", ""),
    "pools[#1].dns: 'nine' is not an IPv4 address": ('lease = "30m"', """dns = ["nine"]
        lease = "1h"
        promise = "10m"
        options = {interface-mtu = 70000, mtu = 5}
        exclude = ["10.0.0.1", "here", "100.64.0.9"]
        reservations = [{address = "100.64.0.9", line = "house", mac = "02:00:00:00:00:01"},
                        {address = "10.9.9.9", line = "1:7"}, {address = "100.64.0.8"}, 5]"""),
    "pools[#1].gateway: 10.0.0.1 is not a host": ('gateway = "100.64.0.1"', 'gateway = "10.0.0.1"'),
    "pools[#1].promise: is shorter than lease": ("", ""),
    "pools[#1].options.interface-mtu: 70000 is not": ("", ""),
    "pools[#1].options.mtu: there is no DHCPv4 option of this name: is interface-mtu meant?": ("", ""),
    "pools[#1].exclude: 'here' is not an address or a range": ("", ""),
    "pools[#1].exclude: 10.0.0.1-10.0.0.1 is not inside": ("", ""),
    "pools[#1].reservations[02:00:00:00:00:01].line: 'house' is not a line": ("", ""),
    "pools[#1].reservations[02:00:00:00:00:01].address: 100.64.0.9 is excluded": ("", ""),
    "pools[#1].reservations[1:7].address: 10.9.9.9 is not inside": ("", ""),
    "pools[#1].reservations[#3]: a reservation needs a mac": ("", ""),
    "pools[#1].reservations[#4]: must be a table": ("", ""),
    "pools[#2].name: residential is already pools[#1]'s": ("[authorization]", """[[pools]]
        name = "residential"
        network = "100.64.1.0/24"
        gateway = "nowhere"
        [authorization]"""),
    "pools[#2].network: 100.64.1.0/24 overlaps 100.64.0.0/22 of pools[#1]": ("", ""),
    "pools[#2].gateway: 'nowhere' is not an IPv4 address": ("", ""),
    "authorization.default: there is no pool 'gold'": ('default = "residential"', 'default = "gold"\nantispof = true'),
    "authorization.antispof: there is no such setting: is antispoof meant?": ("", ""),
}  # fmt: skip
"""What is told of one file, by how its text came about: all of it is wrong at once."""


def test_twenty_five_faults_of_one_file_are_told_together(file: Path) -> None:
    text = GOOD
    for was, put in FAULTS.values():
        assert was in text
        text = text.replace(was, put, 1) if was else text
    told = problems(file, text.replace("\n        ", "\n"))
    for fault in FAULTS:
        assert [line for line in told if line.startswith(fault)], (fault, told)
    extra = [line for line in told if not line.startswith(tuple(FAULTS))]
    assert not extra, "and nothing that follows from another fault"


def test_a_service_that_is_named_has_to_be_there(file: Path, tmp_path: Path) -> None:
    (tmp_path / "people.toml").write_text('[[subscribers]]\nname = "x"\nline = "1:1"\nservice = "gold"\n')
    text = GOOD + 'service = "silver"\nsubscribers = "people.toml"\n[[services]]\nname = "bronze"\nup = "2M"\n'
    assert problems(file, text) == [
        "authorization.service: there is no service 'silver'; there is bronze",
        f"{tmp_path / 'people.toml'}: subscribers[x].service: there is no service 'gold'; there is bronze",
    ]
    file.write_text(text.replace("silver", "gold").replace("bronze", "gold"))
    tree, (entry,), _ = load(file)
    assert (tree.authorization.service, entry.service) == ("gold", "gold")


@pytest.mark.parametrize("line", [line for line in GOOD.splitlines() if " = " in line])
def test_a_value_that_makes_no_sense_is_one_fault_and_no_rule_stumbles_over_it(
    file: Path, tmp_path: Path, line: str
) -> None:
    (tmp_path / "people.toml").write_text(
        '[[subscribers]]\nname = "x"\nline = "1:7"\naddress = "100.64.0.9"\npool = "residential"\n'
        '[[subscribers]]\nname = "y"\ncircuit = "door"\ntenant = "default"\n'
    )
    whole = GOOD.replace("number = 1\n", 'number = 1\nline = "circuit"\ntrusted = true\n').replace(
        'lease = "30m"', 'lease = "30m"\nreservations = [{address = "100.64.0.8", line = "1:9/x"}]'
    )
    text = whole.replace(line, f"{line.split(' = ')[0]} = {{nonsense = 1}}", 1) + 'subscribers = "people.toml"\n'
    fault, *others = problems(file, text)
    assert f".{line.split(' = ')[0]}: " in fault
    assert all("subscribers[x].line: port 1 tells lines apart" in other for other in others)


def test_values_that_make_no_sense_do_not_hide_contradictions_between_the_others(file: Path, tmp_path: Path) -> None:
    (tmp_path / "people.toml").write_text('[[subscribers]]\nname = "x"\nline = "1:1"\npool = "gold"\n')
    text = GOOD.replace("[gateway]", "[gateway]\nring = 100000").replace("number = 100", "number = 1") + (
        'subscribers = "people.toml"\n'
        '[[pools]]\nname = "other"\nnetwork = "100.64.0.0/33"\ngateway = "100.64.0.1"\n'
        '[[pools]]\nname = "third"\nnetwork = "100.64.1.0/24"\ngateway = "10.0.0.1"\ntenant = "nobody"\n'
    )
    assert problems(file, text) == [
        "gateway.ring: 100000 is not a power of two: 131072 is the next",
        "pools[other].network: '100.64.0.0/33' is not an IPv4 network: write it as 100.64.0.0/22",
        "ports[#2].number: 1 is already ports[#1]'s: give each its own",
        "pools[third].gateway: 10.0.0.1 is not a host of 100.64.1.0/24: write an address of it, such as 100.64.1.1",
        "pools[third].tenant: there is no tenant 'nobody'; there is default",
        "pools[third].network: 100.64.1.0/24 overlaps 100.64.0.0/22 of pools[residential]: no address can be in two",
        f"{tmp_path / 'people.toml'}: subscribers[x].pool: there is no pool 'gold'; there is other, residential, third",
    ]


@pytest.mark.parametrize(
    ("was", "put", "said"),
    [
        (
            'network = "100.64.0.0/22"',
            'network = "none"',
            ["pools[residential].network: 'none' is not an IPv4 network: write it as 100.64.0.0/22"],
        ),
        ('role = "subscriber"', 'role = "none"', ['ports[1].role: must be "subscriber" or "network", not "none"']),
        ("[[pools]]", "[pools]", ["pools: is one table, and may be there several times: write [[pools]]"]),
    ],
    ids=["pool", "port", "list"],
)
def test_what_makes_no_sense_is_not_said_to_be_missing_as_well(file: Path, was: str, put: str, said: list[str]) -> None:
    assert problems(file, GOOD.replace(was, put)) == said


def test_an_empty_file_lacks_everything(file: Path) -> None:
    assert problems(file, "") == ["gateway: is missing", "ports: is missing", "pools: is missing"]


NEXUS = """
[nexus]
servers = ["https://nexus.example:7443", "https://[2001:db8::1]:7443"]
certificate = "bng1.pem"
key = "/etc/wayleave/bng1.key"
ca = "ca.pem"
"""


def test_nexus_is_absent_or_said_whole(file: Path, tmp_path: Path) -> None:
    file.write_text(GOOD)
    assert load(file).settings.nexus is None
    file.write_text(GOOD + NEXUS)
    nexus = load(file).settings.nexus
    assert nexus is not None
    assert nexus.ends == (Server("nexus.example", 7443), Server("2001:db8::1", 7443))
    assert [str(end) for end in nexus.ends] == list(nexus.servers)
    assert nexus.pem(tmp_path) == (tmp_path / "bng1.pem", Path("/etc/wayleave/bng1.key"), tmp_path / "ca.pem")
    assert problems(file, f"{GOOD}\n[nexus]\nservers = []\n") == [
        "nexus.servers: must not be empty",
        *(f"nexus.{key}: is missing" for key in ("certificate", "key", "ca")),
    ]


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("http://nexus.example:7443", '"http://nexus.example:7443" would be asked in the clear, by anybody: write https://'),
        ("nexus.example", '"nexus.example" is no server: write https://HOST:PORT, IPv6 in brackets: '
         "https://[2001:db8::1]:7443"),
        ("https://2001:db8::1", '"https://2001:db8::1" is no server: write https://HOST:PORT, IPv6 in brackets: '
         "https://[2001:db8::1]:7443"),
        ("https://a/b", '"https://a/b" is no server: write https://HOST:PORT, IPv6 in brackets: https://[2001:db8::1]:7443'),
        ("https://[2001:db8::1::]:7443", "2001:db8::1:: is no IPv6 address"),
        ("https://nexus.example:0", "0 is no port: there are 1 to 65535"),
        ("https://nexus.example:7443/", "https://nexus.example:7443/ is there twice: leave one out"),
    ],
)  # fmt: skip
def test_where_nexus_cannot_be_is_refused_in_words(file: Path, server: str, why: str) -> None:
    assert problems(file, GOOD + NEXUS.replace('"https://[', f'"{server}", "https://[')) == [f"nexus.servers: {why}"]


def radius_server(file: Path, text: str) -> list[str]:
    return problems(file, f'{GOOD}\n[[radius.servers]]\nname = "r1"\naddress = "192.0.2.2"\n{text}')


def test_a_server_that_is_given_no_time_is_none(file: Path) -> None:
    assert radius_server(file, 'secret = "s"\ntimeout = "0s"') == [
        "radius.servers[r1].timeout: is under 1s: no answer would be waited for"
    ]


def test_a_server_over_udp_has_a_secret_and_nothing_of_radsec(file: Path) -> None:
    assert radius_server(file, 'certificate = "x.pem"\nserver_name = "radius.example"') == [
        "radius.servers[r1].secret: is missing: the path of the file with the secret that the server knows "
        "this gateway by",
        'radius.servers[r1].certificate: counts for nothing over UDP: say transport = "radsec", or leave it out',
        'radius.servers[r1].server_name: counts for nothing over UDP: say transport = "radsec", or leave it out',
    ]


def test_a_server_over_radsec_has_certificates_and_no_repetitions(file: Path) -> None:
    assert radius_server(file, 'transport = "radsec"\nca = "ca.pem"\ntries = 3\nserver_name = "a b"') == [
        "radius.servers[r1].server_name: 'a b' is no name: write letters, digits, `.`, `_` and `-`, "
        "first a letter or a digit",
        "radius.servers[r1].certificate: is missing: with RadSec, the path of this gateway's certificate",
        "radius.servers[r1].key: is missing: with RadSec, the path of the certificate's private key",
        "radius.servers[r1].tries: RadSec repeats nothing, TCP does: leave it out",
    ]


def test_what_a_server_is_asked_like_follows_from_its_transport(file: Path) -> None:
    file.write_text(
        GOOD
        + """
[[radius.servers]]
name = "r1"
address = "192.0.2.2"
secret = "s"

[[radius.servers]]
name = "r2"
address = "192.0.2.2"
transport = "radsec"
certificate = "c"
key = "k"
ca = "a"
acct_port = 2084
"""
    )
    udp, tls = load(file).settings.radius.servers
    assert (udp.ports, udp.channels, udp.patience) == ((1812, 1813), 4, (1 * SECOND, 3))
    assert (tls.ports, tls.channels, tls.patience) == ((2083, 2084), 1, (5 * SECOND, 1))


# ---- users and their passwords -------------------------------------------------------------------

PPPOE = 'role = "subscriber"\nprotocols = ["pppoe"]'
USERS = GOOD.replace('role = "subscriber"', PPPOE) + 'subscribers = "people.toml"\nsecrets = "people.secrets"\n'
ALICE = '[[subscribers]]\nname = "a"\nuser = "alice@isp.example"\n'


def users(tmp_path: Path, people: str, secrets: str, mode: int = 0o600) -> Path:
    (tmp_path / "people.toml").write_text(people)
    passwords = tmp_path / "people.secrets"
    passwords.write_text(secrets)
    passwords.chmod(mode)
    return passwords


def test_passwords_are_read_beside_it_and_show_nowhere(file: Path, tmp_path: Path) -> None:
    users(tmp_path, ALICE, '"alice@isp.example" = "sesame"\n"left-over" = "Türkei"\n')
    file.write_text(USERS)
    loaded = load(file)
    assert loaded.passwords == {"alice@isp.example": b"sesame", "left-over": "Türkei".encode()}
    assert loaded.subscribers[0].user == "alice@isp.example"
    assert "sesame" not in repr(loaded)
    assert "sesame" not in repr(read(file))


@pytest.mark.parametrize(
    ("secrets", "mode", "found"),
    [
        ("", 0o600, ["{people}: subscribers[a].user: alice@isp.example has no password: write it into the file of"]),
        (
            '"alice@isp.example" = "sesame"',
            0o640,
            ["{file}: authorization.secrets: {secrets} can be read by others (mode 640): chmod 600 {secrets}"],
        ),
        (
            "alice.isp = 'sesame'\n'alice@isp.example' = 'open'",
            0o600,
            ["{secrets}: alice: a name with dots in it stands"],
        ),
        (
            "bob = 12345\neve = ''\n'alice@isp.example' = 'open'",
            0o600,
            [
                '{secrets}: bob: is no password: "bob" = "PASSWORD", in quotes',
                '{secrets}: eve: is no password: "eve" = "PASSWORD", in quotes',
            ],
        ),
        (
            "# ours\nalice@isp.example = sesame\nbob@isp.example = 'sesame'",
            0o600,
            [
                '{secrets}: alice@isp.example: such a name stands in quotes: "alice@isp.example" = "PASSWORD"',
                '{secrets}: bob@isp.example: such a name stands in quotes: "bob@isp.example" = "PASSWORD"',
            ],
        ),
        (
            "'alice@isp.example' = 'sesame'\n\"alice@isp.example\" = 'sesame'",
            0o600,
            ["{secrets}: alice@isp.example stands there twice: leave one out"],
        ),
        ("alice sesame@x = 'open'", 0o600, ["{secrets}: is not TOML: "]),
        ("a = '''\nsesame@x = '''\na = 'b'", 0o600, ["{secrets}: is not TOML: "]),
        ("'alice@isp.example' = 'sesame", 0o600, ["{secrets}: is not TOML: "]),
        ("'alice@isp.example' = sesame", 0o600, ["{secrets}: is not TOML: "]),
    ],
    ids=["absent", "others", "dots", "kinds", "unquoted", "twice", "no name", "many lines", "unended", "bare"],
)
def test_what_is_wrong_with_passwords_is_said_without_them(
    file: Path, tmp_path: Path, secrets: str, mode: int, found: list[str]
) -> None:
    path = users(tmp_path, ALICE, secrets, mode)
    file.write_text(USERS)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    said = caught.value.problems
    for line, begin in zip(said, found, strict=True):
        assert line.startswith(begin.format(file=file, people=tmp_path / "people.toml", secrets=path))
    assert "sesame" not in str(said)
    assert "12345" not in str(said)


def test_passwords_that_are_not_there(file: Path, tmp_path: Path) -> None:
    users(tmp_path, ALICE, "").unlink()
    secrets = tmp_path / "people.secrets"
    assert problems(file, USERS) == [
        f"authorization.secrets: {secrets}: No such file or directory: write the passwords into that file"
    ]
    secrets.write_bytes(b'"\xff" = "sesame"')
    secrets.chmod(0o600)
    assert problems(file, USERS) == [f"authorization.secrets: {secrets} is not TOML: octet 1 is not UTF-8"]


def test_who_is_blocked_needs_no_password(file: Path, tmp_path: Path) -> None:
    users(tmp_path, ALICE + "blocked = true\n", "")
    file.write_text(USERS)
    assert load(file).passwords == {}
    users(tmp_path, ALICE, "")
    assert "alice@isp.example has no password" in problems(file, USERS.replace('secrets = "people.secrets"\n', ""))[-1]


REALMS = """
[[radius.groups]]
name = "isp-b"
servers = ["r1"]
realms = ["isp-b.example", "isp-b.test"]
strip_realm = true
"""
"""To be put behind RADIUS."""


def test_a_realm_stands_for_a_group_once(file: Path) -> None:
    once = GOOD + RADIUS + REALMS
    file.write_text(once)
    assert load(file).settings.radius.groups[1].realms == ("isp-b.example", "isp-b.test")
    third = REALMS.replace('name = "isp-b"', 'name = "third"').replace('"isp-b.test"', '"ISP-B.example"')
    assert problems(file, once + third) == [
        "radius.groups[third].realms: isp-b.example is already radius.groups[isp-b]'s: a realm stands for a group once",
        "radius.groups[third].realms: ISP-B.example is already radius.groups[isp-b]'s: a realm stands for a group once",
    ]
    (bad,) = problems(file, once.replace('"isp-b.test"', '"@isp-b.test"'))
    assert bad.startswith("radius.groups[isp-b].realms: '@isp-b.test' is no realm")


def test_a_realm_is_not_taken_off_where_that_would_break_the_proof_or_there_is_none(file: Path) -> None:
    proven = MS_CHAP + RADIUS + REALMS
    (bad,) = problems(file, proven)
    assert bad.startswith("radius.groups[isp-b].strip_realm: MS-CHAPv2 proves the whole name")
    nothing = GOOD + RADIUS + REALMS.replace('realms = ["isp-b.example", "isp-b.test"]', "")
    assert problems(file, nothing) == ["radius.groups[isp-b].strip_realm: takes off the group's realms: there are none"]


MS_CHAP = GOOD.replace('role = "subscriber"', PPPOE) + '[pppoe]\nauthentication = ["ms-chap-2", "chap"]\n'
RADIUS = """
[[tenants]]
name = "default"
radius = "isp"
[[radius.servers]]
name = "r1"
address = "192.0.2.2"
secret = "r1.secret"
[[radius.groups]]
name = "isp"
servers = ["r1"]
"""


def test_ms_chap_2_needs_a_server_that_can_check_it(file: Path) -> None:
    assert problems(file, MS_CHAP) == [
        'pppoe.authentication: "ms-chap-2" takes a RADIUS server to check, and tenant default of port 1 has none: '
        'leave it out, or name a group with tenants.radius; "chap" and "pap" are checked here'
    ]
    asking_nobody = MS_CHAP.replace('"ms-chap-2", "chap"', "")
    for good in (MS_CHAP + RADIUS, MS_CHAP.replace('["pppoe"]', '["ipoe"]'), asking_nobody):
        file.write_text(good)
        load(file)


def test_services_have_to_fit_into_a_pado(file: Path) -> None:
    asks_nobody = GOOD.replace('role = "subscriber"', PPPOE) + "[pppoe]\nauthentication = []\nservices = "
    file.write_text(f"{asks_nobody}{['s' * 60] * 16}")
    load(file)
    assert problems(file, f"{asks_nobody}{['s' * 61] * 16}") == [
        "pppoe.services: the names take 1040 octets of a PADO, and there is room for 1024"
    ]


def test_pppoe_that_asks_for_a_proof_needs_somebody_who_can_check_it(file: Path, tmp_path: Path) -> None:
    users(tmp_path, ALICE, '"alice@isp.example" = "sesame"')
    subscribers, secrets = 'subscribers = "people.toml"\n', 'secrets = "people.secrets"\n'
    nobody = (
        "pppoe.authentication: nobody on port 1 can prove who it is: name the files of authorization.subscribers and "
        "authorization.secrets, or a group with tenants.radius for tenant default; [] asks nobody"
    )
    without_users = USERS.replace(subscribers, "").replace(secrets, "")
    assert problems(file, without_users) == [nobody]
    assert problems(file, USERS.replace(subscribers, "")) == [nobody]
    assert problems(file, USERS.replace(secrets, ""))[0] == nobody
    by_realm = RADIUS.replace('radius = "isp"\n', "") + 'pool = "residential"\nrealms = ["isp.example"]\n'
    for good in (USERS, without_users + RADIUS, without_users + by_realm):
        file.write_text(good)
        load(file)


def test_a_user_whom_nobody_asks_who_it_is(file: Path, tmp_path: Path) -> None:
    users(tmp_path, ALICE + '[[subscribers]]\nname = "b"\nline = "1:7"\n', '"alice@isp.example" = "sesame"')
    alice = f"{tmp_path / 'people.toml'}: subscribers[a].user"
    unserved = (
        f'{alice}: no port serves PPPoE, and only there clients say who they are: put "pppoe" into ports.protocols, '
        "or take user out"
    )
    for forgotten in ("", '\nprotocols = ["ipoe"]'):
        assert problems(file, USERS.replace('\nprotocols = ["pppoe"]', forgotten)) == [unserved]
    assert problems(file, USERS + "[pppoe]\nauthentication = []\n") == [
        f'{alice}: pppoe.authentication = [] asks nobody who it is: name methods there, such as "chap", '
        "or take user out"
    ]
    file.write_text(USERS)
    load(file)


def test_a_protocol_that_there_is_not_is_one_fault(file: Path) -> None:
    assert problems(file, GOOD.replace('role = "subscriber"', PPPOE.replace("pppoe", "ppoe"))) == [
        'ports[1].protocols: must be "ipoe" or "pppoe", not "ppoe"'
    ]


NETWORK = 'role = "network"'
SUBSCRIBER = 'role = "subscriber"'


@pytest.mark.parametrize(
    ("was", "put", "said"),
    [
        (NETWORK, NETWORK + '\nprotocols = ["ipoe"]', "ports[100].protocols: a network port serves no clients"),
        (NETWORK, NETWORK + "\npppoe_sessions = 9", "ports[100].pppoe_sessions: a network port serves no clients"),
        (SUBSCRIBER, SUBSCRIBER + "\npppoe_sessions = 9", "ports[1].pppoe_sessions: the port does not serve PPPoE"),
        (SUBSCRIBER, SUBSCRIBER + "\npado_delay_ms = 9", "ports[1].pado_delay_ms: the port does not serve PPPoE"),
        (SUBSCRIBER, PPPOE.replace("]", ', "pppoe"]'), 'ports[1].protocols: "pppoe" stands there twice'),
        ("[authorization]", '[pppoe]\nauthentication = ["pap", "pap"]\n[authorization]',
         'pppoe.authentication: "pap" stands there twice'),
    ],
)  # fmt: skip
def test_what_would_count_for_nothing_is_told(file: Path, was: str, put: str, said: str) -> None:
    told = problems(file, GOOD.replace(was, put))
    assert told[0].startswith(said), told
    assert all(problem.startswith((said, "pppoe.authentication: nobody on port 1")) for problem in told)


SHARED = GOOD.replace('lease = "30m"', 'lease = "30m"\nnexus = "home"')
WITH_NEXUS = """
[nexus]
servers = ["https://nexus.example:7443"]
certificate = "bng1.pem"
key = "bng1.key"
ca = "ca.pem"
"""


def test_a_shared_pool_needs_a_nexus_and_is_one_pool_here(file: Path) -> None:
    assert problems(file, SHARED) == [
        "pools[residential].nexus: there is no Nexus to lease its blocks from: write [nexus], or leave this out"
    ]
    file.write_text(SHARED + WITH_NEXUS)
    assert load(file).settings.pools[0].nexus == "home"
    other = '\n[[pools]]\nname = "other"\nnetwork = "10.0.0.0/24"\ngateway = "10.0.0.1"\nnexus = "home"\n'
    assert problems(file, SHARED + WITH_NEXUS + other) == [
        "pools[other].nexus: home is pools[residential]'s already: its blocks can be in one pool alone"
    ]


def test_addresses_of_a_shared_pool_are_not_kept_here(file: Path, tmp_path: Path) -> None:
    reserved = '\n[[pools.reservations]]\naddress = "100.64.0.9"\nmac = "02:00:00:00:00:01"\n\n[authorization]'
    assert problems(file, SHARED.replace("\n[authorization]", reserved) + WITH_NEXUS) == [
        "pools[residential].reservations: 100.64.0.9 is Nexus' to keep: give it to a subscriber there (`address`)"
    ]
    people = tmp_path / "people.toml"
    people.write_text('[[subscribers]]\nname = "smith"\nline = "1"\naddress = "100.64.0.9"\n')
    named = SHARED.replace('default = "residential"', 'default = "residential"\nsubscribers = "people.toml"')
    file.write_text(named + WITH_NEXUS)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert problem.endswith(
        "subscribers[smith].address: pool residential is shared: 100.64.0.9 is Nexus' to keep, for a subscriber there"
    )
