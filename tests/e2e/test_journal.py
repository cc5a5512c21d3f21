"""`bng show session X --journal` and `bng show journal X`: a client's story, whether it is served or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.namespace import CommandFailed
from wayleave.lab.packet import IPV4, UDP, ethernet, ipv4, udp
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until

SERVED, BLOCKED = 0, 1
SUBSCRIBERS = """
[[subscribers]]
name = "smith"
line = "1:100.1"

[[subscribers]]
name = "jones"
line = "1:100.2"
blocked = true
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        path = lab.folder / "subscribers.toml"
        path.write_text(SUBSCRIBERS)
        lab.gateway.start(lab.config(authorization={"subscribers": str(path)}))
        lab.customers[SERVED].dhcp("udhcpc")
        yield lab


def show(lab: Lab, *words: str) -> Any:
    return json.loads(lab.gateway.bng("show", *words, "--json", "--config", str(lab.gateway.config_file)))


def test_the_story_of_a_client_that_is_served(lab: Lab) -> None:
    """By id, address, MAC and subscriber; with the packets that it spoofed."""
    customer = lab.customers[SERVED]
    assert customer.lease is not None
    address = customer.lease.address
    spoofed = ipv4(lab.pools[0][77], lab.server_address, UDP, udp(lab.pools[0][77], lab.server_address, 1, 2, b""))
    for _ in range(2):
        customer.send_raw(ethernet(GATEWAY_ACCESS_MAC, customer.mac, IPV4, spoofed))

    def dropped() -> list[Any]:
        return [item for item in show(lab, "session", "smith", "--journal")["journal"] if item["count"] == 2]

    (drop,) = wait_until(dropped, "two sampled drops")
    assert drop["says"].startswith("spoofed-ipv4 in antispoof, from the client")
    assert bytes.fromhex(drop["sample"])[6:12] == customer.mac
    assert spoofed in bytes.fromhex(drop["sample"])
    (session,) = show(lab, "sessions", "--mac", str(customer.mac))
    story = show(lab, "session", str(address), "--journal")["journal"]
    heads = [(item["what"], item["says"]) for item in story]
    assert heads[0] == ("offered", f"DISCOVER: residential, subscriber smith: {address}")
    assert heads[1] == ("confirmed", "REQUEST (selecting) for 3600s")
    assert [item["ago_s"] for item in story] == sorted((item["ago_s"] for item in story), reverse=True)
    for which in (str(session["id"]), str(customer.mac), "smith"):
        (found,) = show(lab, "journal", which)
        assert (found["session"], found["line"]) == (session["id"], "1:100.1")
        assert [item["what"] for item in found["entries"]][:2] == ["offered", "confirmed"]
    text = lab.gateway.bng("show", "session", "smith", "--journal", "--config", str(lab.gateway.config_file))
    assert "2 or more: spoofed-ipv4" in text
    assert "journal" not in show(lab, "session", "smith")


def test_a_renewal_that_the_data_plane_answered_is_in_the_story(lab: Lab) -> None:
    customer = lab.customers[SERVED]
    customer.forget()
    customer.dhcp("dhclient")
    customer.forget()
    customer.dhcp("dhclient")
    wait_until(
        lambda: any(item["what"] == "renewed" for item in show(lab, "session", "smith", "--journal")["journal"]),
        "a renewal by the data plane",
    )


def test_the_story_of_a_client_that_cannot_get_on(lab: Lab) -> None:
    """Refused, and what it sends all the same is dropped; as if it were on another VLAN, too."""
    customer = lab.customers[BLOCKED]
    with pytest.raises((TimeoutError, CommandFailed)):
        customer.dhcp("udhcpc", timeout=1.0)
    packet = ipv4(lab.pools[0][5], lab.server_address, UDP, udp(lab.pools[0][5], lab.server_address, 1, 2, b""))
    customer.send_raw(ethernet(GATEWAY_ACCESS_MAC, customer.mac, IPV4, packet))
    lab.customers[SERVED].send_raw(ethernet(GATEWAY_ACCESS_MAC, customer.mac, IPV4, packet))

    def lines() -> dict[str, Any]:
        return {item["line"]: item for item in show(lab, "journal", str(customer.mac))}

    found = wait_until(lambda: found if len(found := lines()) == 2 else None, "both lines")
    whats = [item["what"] for item in found["1:100.2"]["entries"]]
    assert ("not-authorized", "DISCOVER: subscriber jones is blocked") in [
        (item["what"], item["says"]) for item in found["1:100.2"]["entries"]
    ]
    assert "dropped" in whats
    assert found["1:100.2"]["session"] is None
    (elsewhere,) = found["1:100.1"]["entries"]
    assert elsewhere["says"].startswith("no-session in admit, from the client")


def test_made_up_macs_on_one_line_hide_no_other_lines_drops(lab: Lab) -> None:
    """More of them, and faster, than all may be sampled, while another line drops one packet."""
    packet = ipv4(lab.pools[0][5], lab.server_address, UDP, udp(lab.pools[0][5], lab.server_address, 1, 2, b""))
    served, blocked = lab.customers[SERVED], lab.customers[BLOCKED]

    def forge(count: int) -> None:
        for number in range(count):
            mac = b"\x02\x98\0\0" + number.to_bytes(2, "big")
            served.send_raw(ethernet(GATEWAY_ACCESS_MAC, mac, IPV4, packet))

    forge(2000)
    victim = b"\x02\x97\0\0\0\1"
    blocked.send_raw(ethernet(GATEWAY_ACCESS_MAC, victim, IPV4, packet))
    forge(100)
    text = victim.hex(":")
    (found,) = wait_until(lambda: show_or_nothing(lab, text), "the other line's drop")
    assert found["line"] == "1:100.2"


def show_or_nothing(lab: Lab, mac: str) -> Any:
    try:
        return show(lab, "journal", mac)
    except CommandFailed:
        return None


def test_who_was_never_heard_of_is_said_to_be_unknown(lab: Lab) -> None:
    with pytest.raises(CommandFailed, match="nothing was heard of 02:00:00:00:00:99"):
        show(lab, "journal", "02:00:00:00:00:99")
    with pytest.raises(CommandFailed, match="no session with subscriber nobody"):
        show(lab, "journal", "nobody")
