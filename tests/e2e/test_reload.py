"""Another configuration while the gateway runs: traffic goes on, changes count, what is refused changes nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from tests.e2e.dhcp import ACK, NAK, messages
from tests.e2e.watch import Meter, dropped, pool, sessions
from wayleave.lab import access_node
from wayleave.lab.access_node import Line
from wayleave.lab.customer import NoLease
from wayleave.lab.namespace import CommandFailed
from wayleave.lab.topology import PINS, Lab, customer_mac
from wayleave.lab.waiting import wait_until

OTHER = IPv4Network("100.65.0.0/24")
THIRD = IPv4Network("100.66.0.0/24")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2), Line(100, 3)], pools=(IPv4Network("100.64.0.0/22"), OTHER, THIRD)) as lab:
        lab.gateway.start(lab.config())
        yield lab


def more(network: IPv4Network, name: str) -> str:
    return f'[[pools]]\nname = "{name}"\nnetwork = "{network}"\ngateway = "{network[1]}"\n'


def bng(lab: Lab, word: str, *options: str) -> tuple[dict[str, Any], str]:
    """Plan or reload; returns what is said in JSON."""
    text = lab.gateway.bng(word, "--json", *options, "--config", str(lab.gateway.config_file), check=False)
    return json.loads(text), text


def reload(lab: Lab, config: str) -> dict[str, Any]:
    lab.gateway.config_file.write_text(config)
    told, _ = bng(lab, "reload")
    assert told["applied"], told
    return told


def dump(lab: Lab) -> dict[str, bytes]:
    """Everything that a configuration is made into, as it stands in the kernel."""
    (folder,) = (PINS / lab.instance).glob("maps-*")
    words = ["bpftool", "--json", "map", "dump", "pinned"]
    names = ("clients", "hosts4", "sessions", "tenants", "policers", "services", "replies", "ports", "egress")
    maps = {name: lab.gateway.run(*words, str(folder / name)).encode() for name in names}
    routes = {name: lab.gateway.run("ip", name).encode() for name in ("route", "address", "rule")}
    return maps | routes


def test_traffic_loses_no_packet_while_everything_changes(lab: Lab) -> None:
    one, two, three = lab.customers
    lease = one.dhcp("udhcpc")
    assert two.dhcp("udhcpc").address != lease.address
    with (
        one.pinging(lab.server_address, interval=0.005) as up,
        lab.server.pinging(lease.address, interval=0.005) as down,
    ):
        up.wait_for(50)
        (lab.folder / "people.toml").write_text(
            f'[[subscribers]]\nname = "three"\nmac = "{customer_mac(2)}"\npool = "business"\naddress = "{OTHER[7]}"\n'
            f'[[subscribers]]\nname = "one"\nmac = "{customer_mac(0)}"\nlimit = 3\n'
        )
        told = reload(
            lab,
            lab.config(
                gateway={"kernel_dhcp": False},
                tenant={"services": ["udp/53"]},
                subscriber={"clients": 2, "trusted": True},
                pool={
                    "network": "100.64.0.0/21",
                    "lease": "2h",
                    "dns": ["9.9.9.9"],
                    "exclude": ["100.64.7.0-100.64.7.9"],
                },
                authorization={"subscribers": "people.toml"},
                more=more(OTHER, "business") + "[punt.new]\npps = 500\nburst = 500\n",
            ),
        )
        up.wait_for(50)
        down.wait_for(50)
        assert three.dhcp("udhcpc").address == OTHER[7], "a new subscriber in a new pool, without a restart"
        assert three.ping(lab.server_address)
        assert one.ping(OTHER[1]), "its gateway is there"
        reload(lab, lab.config())
        up.wait_for(50)
        down.wait_for(50)
        assert max(len(item.stop().lost) for item in (up, down)) < 2, "one may be on its way at the end"
    assert 'pools[residential].lease: "1h" → "2h"' in told["changes"]
    assert told["sessions"] == {"kept": 2, "moved": 0, "ended": 0}
    assert told["rows"] == 2
    assert lab.gateway.get("/counters")["sessions"]["unexpected"] == {}
    (session,) = sessions(lab.gateway, mac=one.mac)
    assert session["address"] == str(lease.address)
    assert not sessions(lab.gateway, mac=three.mac), "its pool is gone"
    assert not lab.server.ping(OTHER[7], count=1, timeout=0.2)
    assert str(OTHER) not in lab.gateway.run("ip", "route")
    assert str(OTHER[1]) not in lab.gateway.run("ip", "address")


def test_a_changed_option_is_in_the_kernel_s_next_answer(lab: Lab) -> None:
    customer = lab.customers[0]
    assert customer.dhcp("udhcpc").dns == (lab.server_address,)
    acked = Meter(lab.gateway, "dhcp4", "kernel", "acked")
    customer.renew()
    reload(lab, lab.config(pool={"dns": ["192.0.2.53"], "domain": "new.example"}))
    before = acked.stand
    with lab.access_node.trunk.capture() as trunk:
        lease = customer.renew()
        trunk.wait_for(lambda f: messages([f], ACK, mac=customer.mac))
    assert lease.dns == (IPv4Address("192.0.2.53"),)
    assert acked.stand > before, "the kernel said so"
    assert {item.kind for item in messages(trunk.frames, mac=customer.mac)} >= {ACK}


def test_a_plan_says_what_a_reload_does_and_touches_nothing(lab: Lab) -> None:
    one, two, _ = lab.customers
    one.dhcp("udhcpc")
    two.dhcp("udhcpc")
    (lab.folder / "people.toml").write_text(
        f'[[subscribers]]\nname = "one"\nmac = "{customer_mac(0)}"\naddress = "100.64.1.77"\n'
        f'[[subscribers]]\nname = "two"\nmac = "{customer_mac(1)}"\nblocked = true\n'
    )
    nothing, _ = bng(lab, "plan")
    assert (nothing["changes"], nothing["refused"]) == ([], [])
    lab.gateway.bng("plan", "--config", str(lab.gateway.config_file))  # exit status 0

    lab.gateway.config_file.write_text(lab.config(authorization={"subscribers": "people.toml"}))
    stood = dump(lab)
    planned, _ = bng(lab, "plan")
    with pytest.raises(CommandFailed, match="exit 1"):
        lab.gateway.bng("plan", "--config", str(lab.gateway.config_file))
    assert dump(lab) == stood
    assert planned["changes"] == [
        'authorization.subscribers: absent → "people.toml"', "subscribers[one]: is new", "subscribers[two]: is new"
    ]  # fmt: skip
    assert planned["sessions"] == {"kept": 0, "moved": 1, "ended": 1}
    assert any("its address is 100.64.1.77 now" in line for line in planned["examples"])
    assert any("subscriber two is blocked" in line for line in planned["examples"])

    done, _ = bng(lab, "reload")
    assert {key: done[key] for key in ("changes", "sessions", "rows")} == {
        key: planned[key] for key in ("changes", "sessions", "rows")
    }
    gone = dropped(lab.gateway, "no-session")
    assert not two.ping(lab.server_address, count=1, timeout=0.2), "blocked, at once"
    assert gone.grown == 1
    with pytest.raises(NoLease):
        two.dhcp("udhcpc", "-t", "1")
    assert one.ping(lab.server_address), "served as before, until it asks"
    with lab.access_node.trunk.capture() as trunk:
        assert one.renew(20).address == IPv4Address("100.64.1.77")
        trunk.wait_for(lambda f: messages([f], NAK, mac=one.mac))
    assert one.ping(lab.server_address)


def test_the_file_that_is_named_is_the_one_that_is_planned_and_no_other_is_reloaded(lab: Lab) -> None:
    gateway, folder = lab.gateway, lab.folder / "tomorrow"
    folder.mkdir()
    other = folder / "candidate.toml"
    (folder / "people.toml").write_text(f'[[subscribers]]\nname = "one"\nmac = "{customer_mac(0)}"\n')
    other.write_text(lab.config(pool={"lease": "2h"}, authorization={"subscribers": "people.toml"}))
    told = json.loads(gateway.bng("plan", "--json", "--config", str(other), check=False))
    assert told["changes"] == [
        'pools[residential].lease: "1h" → "2h"', 'authorization.subscribers: absent → "people.toml"',
        "subscribers[one]: is new",
    ]  # fmt: skip
    assert (told["file"], told["own"]) == (str(other), str(gateway.config_file))
    own, _ = bng(lab, "plan")
    assert own["changes"] == []
    assert "nothing differs" in gateway.bng("plan", "--socket", str(gateway.api)), "its own, where no file is named"

    other.write_text("[gateway]\n" + lab.config())
    told = json.loads(gateway.bng("plan", "--json", "--config", str(other), "--socket", str(gateway.api), check=False))
    assert [line.partition(": ")[0] for line in told["refused"]] == [str(other)]

    other.write_text(lab.config(pool={"lease": "2h"}))
    refused = json.loads(gateway.bng("reload", "--json", "--config", str(other), check=False))
    assert not refused["applied"]
    assert refused["refused"][0].startswith(f"this gateway reads {gateway.config_file}, not {other}: ")
    link = folder / "the same.toml"
    link.symlink_to(gateway.config_file)
    assert "nothing differs" in gateway.bng("reload", "--config", str(link))


NINTH = '[[ports]]\nnumber = 9\ndevice = "eth9"\nrole = "network"\n'
REFUSED = {
    "a bad value": ({"pool": {"lease": "5s"}}, "pools[residential].lease: is under 60s"),
    "a restart is needed": ({"gateway": {"sessions": 8192}}, "gateway.sessions: 4096 → 8192: needs a restart"),
    "another device": ({"network": {"device": "acc1"}}, 'ports[100].device: "core0" → "acc1": needs a restart'),
    "a new port that is not there": ({"more": NINTH}, "there is no device eth9"),
    "the machine's own network": (
        {"more": '[[pools]]\nname = "uplink"\nnetwork = "192.0.2.0/24"\ngateway = "192.0.2.9"\n'},
        "core0 has the address 192.0.2.1/30, and pool 192.0.2.0/24 is to be routed to customers",
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_is_refused_changes_nothing_at_all(lab: Lab, change: str) -> None:
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    changed, why = REFUSED[change]
    stood, status = dump(lab), lab.gateway.get("/pools")
    config = lab.config(**{"pool": {"dns": ["192.0.2.53"]}, **changed})
    lab.gateway.config_file.write_text(config + more(THIRD, "third"))
    for word in ("plan", "reload"):
        told, text = bng(lab, word)
        assert not told["applied"]
        assert any(why in line for line in told["refused"]), text
        with pytest.raises(CommandFailed, match="exit 2"):
            lab.gateway.bng(word, "--config", str(lab.gateway.config_file))
    assert dump(lab) == stood
    assert lab.gateway.get("/pools") == status
    assert customer.renew().dns == (lab.server_address,)
    assert customer.ping(lab.server_address)
    assert "reload-refused" in lab.gateway.log


def test_a_port_whose_program_cannot_be_attached_refuses_the_whole(lab: Lab) -> None:
    """It turns out last of all: what was prepared before is taken back."""
    gateway = lab.gateway
    gateway.namespace.ip("link add new0 mtu 1508 type veth peer name far0")
    foreign = ("xdpdrv", "obj", str(access_node.PROGRAM), "program", "pass")
    gateway.run("ip", "link", "set", "dev", "new0", *foreign)
    stood = dump(lab)
    port = '[[ports]]\nnumber = 9\ndevice = "new0"\nrole = "network"\n'
    gateway.config_file.write_text(lab.config(pool={"lease": "2h"}, more=port + more(THIRD, "third")))
    told, _ = bng(lab, "reload")
    assert not told["applied"]
    assert "port 9 (new0): another XDP program is attached" in told["refused"][0]
    after = dump(lab)
    assert {name for name in stood if stood[name] != after[name]} <= {"address"}, "the device was set up, and no more"
    assert str(THIRD) not in after["route"].decode()


def test_the_gateway_takes_an_address_that_a_client_has(lab: Lab) -> None:
    customer = lab.customers[0]
    lease = customer.dhcp("udhcpc")
    told = reload(lab, lab.config(pool={"gateway": str(lease.address)}))
    assert told["sessions"] == {"kept": 0, "moved": 0, "ended": 1}
    assert not customer.ping(lab.server_address, count=1, timeout=0.2)
    customer.forget()
    assert customer.dhcp("udhcpc").address != lease.address
    assert customer.ping(lease.address), "it is the gateway's, and answers"
    assert customer.ping(lab.server_address)


def test_ports_come_and_go(lab: Lab) -> None:
    gateway, customer = lab.gateway, lab.customers[0]
    gateway.namespace.ip("link add new0 mtu 1508 type veth peer name far0", "link set far0 up")
    port = '[[ports]]\nnumber = 2\ndevice = "new0"\nrole = "subscriber"\n'
    customer.dhcp("udhcpc")
    with customer.pinging(lab.server_address, interval=0.005) as pinging:
        reload(lab, lab.config(more=port))
        assert "prog" in gateway.run("ip", "-details", "link", "show", "new0").replace("gso_max", "")
        assert gateway.get("/readyz")["ready"]
        reload(lab, lab.config())
        assert "prog/xdp" not in gateway.run("ip", "-details", "link", "show", "new0")
        assert gateway.get("/readyz")["ready"]
        pinging.wait_for(20)
        assert len(pinging.stop().lost) < 2
    assert not (PINS / lab.instance / "links" / "port-2").exists()


def test_with_the_first_port_of_pppoe_the_kernel_cuts_up_what_has_no_room_there(lab: Lab) -> None:
    gateway = lab.gateway
    gateway.namespace.ip("link add new0 mtu 1508 type veth peer name far0", "link set far0 up")
    port = '[[ports]]\nnumber = 2\ndevice = "new0"\nrole = "subscriber"\nprotocols = ["pppoe"]\n'
    for config, mtu in ((lab.config(more=port + "[pppoe]\nauthentication = []\n"), 1492), (lab.config(), 1500)):
        reload(lab, config)
        assert f"mtu lock {mtu}" in gateway.run("ip", "route", "show", str(lab.pools[0]))


def test_a_larger_mru_takes_a_device_with_room_for_it(lab: Lab) -> None:
    gateway = lab.gateway
    gateway.namespace.ip("link add new0 mtu 1508 type veth peer name far0", "link set far0 up")
    port = '[[ports]]\nnumber = 2\ndevice = "new0"\nrole = "subscriber"\nprotocols = ["pppoe"]\n'
    plain, large = (lab.config(more=f"{port}[pppoe]\nauthentication = []\nmru = {mru}\n") for mru in (1492, 1500))
    reload(lab, plain)
    gateway.config_file.write_text(large)
    for word in ("plan", "reload"):
        told, _ = bng(lab, word)
        assert not told["applied"]
        (why,) = told["refused"]
        assert why.startswith("ports[2]: new0 has MTU 1508: what its port carries needs 1516")
    gateway.namespace.ip("link set new0 mtu 1516")
    reload(lab, large)


def test_a_hangup_reloads(lab: Lab) -> None:
    gateway = lab.gateway
    gateway.config_file.write_text(lab.config(more=more(OTHER, "business")))
    assert gateway.process is not None
    gateway.process.signal(signal.SIGHUP)
    wait_until(lambda: len(gateway.get("/pools")) == 2, "a pool more")
    wait_until(lambda: " info reloaded changes=1 " in gateway.log, "a line of the log")
    gateway.config_file.write_text("[gateway")
    gateway.process.signal(signal.SIGHUP)
    wait_until(lambda: " error reload-refused " in gateway.log, "another")
    assert pool(gateway, "business")["size"] == 253


def test_the_log_level_counts_from_the_reload_on(lab: Lab) -> None:
    gateway, customer = lab.gateway, lab.customers[0]
    customer.dhcp("udhcpc")
    wait_until(lambda: gateway.log.count(" info session-open ") == 1, "a line of the log")
    reload(lab, lab.config(more='[log]\nlevel = "error"\n'))
    lab.customers[1].dhcp("udhcpc")
    gateway.config_file.write_text("[gateway")
    assert gateway.process is not None
    gateway.process.signal(signal.SIGHUP)
    wait_until(lambda: " error reload-refused " in gateway.log, "what went wrong is logged")
    assert gateway.log.count(" info session-open ") == 1
    reload(lab, lab.config())
    lab.customers[2].dhcp("udhcpc")
    wait_until(lambda: gateway.log.count(" info session-open ") == 2, "a line of the log")


def test_after_a_reload_a_restart_finds_nothing_to_mend(lab: Lab) -> None:
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    reload(lab, lab.config(pool={"dns": ["192.0.2.53"]}, more=more(OTHER, "business")))
    lab.gateway.kill9()
    lab.gateway.restart()
    assert lab.gateway.get("/repaired") == []
    assert customer.ping(lab.server_address)
