"""DHCP answered by the data plane, to real clients: who is known needs no process, and hears what that would say."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.e2e.dhcp import ACK, DISCOVER, OFFER, RELEASE, REQUEST, Message, framed, message, messages
from tests.e2e.watch import Meter, sessions
from wayleave.dataplane import objects
from wayleave.lab.access_node import Line
from wayleave.lab.crowd import Crowd, run
from wayleave.lab.customer import Client, Customer
from wayleave.lab.dhcp_client import PROFILES, Member, Server, read_answer
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, PINS, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2), Line(100, 3)]) as made:
        made.gateway.start(made.config())
        yield made


DHCLIENT = ((55, bytes((1, 3, 6, 51, 26))),)
"""What the lab's dhclient puts into every message that shapes the answer."""


def kernel(lab: Lab, result: str) -> Meter:
    """A meter of what the data plane made of DHCP."""
    return Meter(lab.gateway, "dhcp4", "kernel", result)


def kernel_answers(lab: Lab) -> int:
    """How many DHCP messages the data plane has answered."""
    return kernel(lab, "offered").stand + kernel(lab, "acked").stand


def heard(lab: Lab) -> int:
    """How many DHCP messages have come up to Python."""
    counted = lab.gateway.get("/counters")["punts"]
    return int(counted["dhcp4-known"]["sent"] + counted["dhcp4-new"]["sent"])


def exchange(lab: Lab, customer: Customer, start: Client, *options: str) -> list[Message]:
    """Run a client until it has its lease; returns what was said on the trunk about it."""
    with lab.access_node.trunk.capture() as trunk:
        customer.dhcp(start, *options)
        trunk.settle()
    return messages(trunk.frames, mac=customer.mac)


FROM_NOTHING = [DISCOVER, OFFER, REQUEST, ACK]
AFTER_A_REBOOT: dict[Client, list[int]] = {"udhcpc": FROM_NOTHING, "dhclient": [REQUEST, ACK], "dhcpcd": [REQUEST, ACK]}
"""What is said when a client comes back; those that have a disk ask for what they had (INIT-REBOOT)."""


def told(item: Message) -> tuple[object, ...]:
    """All that an answer says to its client, in order."""
    return item.kind, item.yiaddr, item.chaddr, list(item.options.items())


@pytest.mark.parametrize("client", AFTER_A_REBOOT)
def test_a_client_that_comes_back_is_answered_by_the_kernel_as_it_was_by_python(lab: Lab, client: Client) -> None:
    customer = lab.customers[0]
    new, before = kernel(lab, "up-new"), kernel_answers(lab)
    python = {item.kind: told(item) for item in exchange(lab, customer, client)}
    assert (new.grown, kernel_answers(lab) - before) == (2, 0), "a new client is Python's"
    for lose_power, due in ((customer.reboot, AFTER_A_REBOOT[client]), (customer.forget, FROM_NOTHING)):
        offered, acked, before = kernel(lab, "offered"), kernel(lab, "acked"), heard(lab)
        lose_power()
        again = exchange(lab, customer, client)
        assert [item.kind for item in again] == due
        assert (offered.grown, acked.grown, heard(lab) - before) == (due.count(OFFER), 1, 0)
        assert [told(item) for item in again if item.kind in (OFFER, ACK)] == [
            python[kind] for kind in due if kind in (OFFER, ACK)
        ]
        assert customer.ping(lab.server_address)


@pytest.mark.parametrize("client", ["udhcpc", "dhcpcd"])
def test_a_client_renews_with_the_kernel(lab: Lab, client: Client) -> None:
    """udhcpc asks twice: it sends from a second socket and closes that, and in the lab the answer is there before."""
    customer = lab.customers[0]
    lease = customer.dhcp(client)
    acked, before = kernel(lab, "acked"), heard(lab)
    assert customer.renew() == lease
    assert acked.grown >= 1
    assert heard(lab) == before


class Listening(Crowd):
    """A crowd that keeps what it was told, by client and message type."""

    def __init__(self, lab: Lab, members: Sequence[Member]) -> None:
        super().__init__(members, Server(GATEWAY_ACCESS_MAC, lab.pool_gateway), random.Random(1), time.monotonic_ns())
        self.told: dict[bytes, dict[int, list[tuple[int, bytes]]]] = defaultdict(dict)
        with lab.access_node.trunk.wire() as wire:
            run(self, wire, seconds=20)
        assert (self.waiting, self.faults) == (0, Counter()), self.examples

    def receive(self, data: bytes, now: int) -> None:
        super().receive(data, now)
        answer = read_answer(data)
        if answer:
            self.told[answer.fixed.chaddr][answer.kind] = list(answer.options.items())


def test_every_make_of_client_once_known_is_answered_by_the_kernel_alone(lab: Lab) -> None:
    """Option for option as Python answered it when it was new; Windows and home routers among them."""
    members = [
        Member(Mac(bytes((2, 0xAB, 0, 0, 0, number))), Line(100, 10 + number), profile)
        for number, profile in enumerate(PROFILES)
    ]
    new = Listening(lab, members)
    known, before = new.rebooted(), heard(lab)
    for members in (known, [replace(member, renews=True) for member in known]):
        answers = kernel_answers(lab)
        again = Listening(lab, members)
        assert (kernel_answers(lab) - answers, heard(lab) - before) == (again.answers, 0)
        for mac, said in again.told.items():
            assert said == {kind: new.told[mac][kind] for kind in said}
    assert len(again.told) == len(PROFILES)


def test_with_the_process_dead_everybody_known_gets_the_address_and_nobody_else(lab: Lab) -> None:
    known, other, stranger = lab.customers
    addresses = [customer.dhcp(client).address for customer, client in ((known, "udhcpc"), (other, "dhclient"))]
    lab.gateway.kill9()
    for customer, client, address in ((known, "udhcpc", addresses[0]), (other, "dhclient", addresses[1])):
        customer.forget()
        assert customer.dhcp(client).address == address
        assert customer.ping(lab.server_address)
    with lab.access_node.trunk.capture() as trunk:
        stranger.send_raw(framed(message(DISCOVER, stranger.mac), stranger.mac))
        known.forget()
        assert known.dhcp("udhcpc").address == addresses[0]
        trunk.settle()
    assert [item.kind for item in messages(trunk.frames, mac=stranger.mac)] == [DISCOVER]
    lab.gateway.restart()
    there = {item["mac"]: item["address"] for item in sessions(lab.gateway, phase="active")}
    assert there == {str(known.mac): str(addresses[0]), str(other.mac): str(addresses[1])}


def test_near_the_promise_s_end_python_promises_more_before_the_kernel_goes_on(lab: Lab) -> None:
    lab.gateway.stop()
    lab.gateway.start(lab.config(pool={"lease": "60s", "promise": "62s"}))
    customer = lab.customers[1]
    address = customer.dhcp("dhclient").address
    up, acked = kernel(lab, "up-promise"), kernel(lab, "acked")
    ask = framed(message(REQUEST, customer.mac, *DHCLIENT, ciaddr=address), customer.mac, source=address)

    def promise_s() -> int:
        (session,) = sessions(lab.gateway)
        return int(session["promise_s"])

    customer.send_raw(ask)
    acked.wait(1)
    assert up.grown == 0
    wait_until(lambda: promise_s() < 60, "a promise shorter than a lease")
    customer.send_raw(ask)
    up.wait(1)
    wait_until(lambda: promise_s() >= 61, "a new promise")
    customer.send_raw(ask)
    acked.wait(2)
    assert up.grown == 1


def test_after_a_power_failure_the_kernel_answers_from_the_first_moment(lab: Lab) -> None:
    """Maps and pins are gone; the store knows what each client asks for."""
    customer = lab.customers[0]
    address = customer.dhcp("udhcpc").address
    lab.gateway.kill9()
    objects.unpin(PINS / lab.instance)
    lab.gateway.restart()
    acked = kernel(lab, "acked")
    customer.forget()
    assert customer.dhcp("udhcpc").address == address
    assert (acked.grown, heard(lab)) == (1, 0)


def test_what_the_pool_says_anew_is_what_the_kernel_says_after_a_restart(lab: Lab) -> None:
    customer = lab.customers[0]
    before = customer.dhcp("udhcpc")
    lab.gateway.stop()
    lab.gateway.start(lab.config(pool={"dns": ["9.9.9.9"], "lease": "30m"}))
    acked = kernel(lab, "acked")
    customer.forget()
    after = customer.dhcp("udhcpc")
    assert acked.grown == 1
    assert (after.address, after.seconds, after.dns) == (before.address, 1800, (IPv4Address("9.9.9.9"),))


def test_a_longer_lease_is_recorded_before_the_kernel_tells_of_it(lab: Lab) -> None:
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    lab.gateway.stop()
    lab.gateway.start(lab.config(pool={"lease": "2h"}))
    no_reply, acked = kernel(lab, "up-no-reply"), kernel(lab, "acked")
    for seen in ((2, 0), (2, 1)):
        customer.forget()
        assert customer.dhcp("udhcpc").seconds == 7200
        assert (no_reply.grown, acked.grown) == seen


def test_switched_off_python_answers_all(lab: Lab) -> None:
    lab.gateway.stop()
    lab.gateway.start(lab.config(gateway={"kernel_dhcp": False}))
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    no_reply, before = kernel(lab, "up-no-reply"), heard(lab)
    customer.forget()
    customer.dhcp("udhcpc")
    assert (no_reply.grown, heard(lab) - before) == (2, 2)


def test_a_client_that_asks_for_more_is_python_s_once(lab: Lab) -> None:
    """Another parameter list: Python answers, and the kernel from then on."""
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    form, acked = kernel(lab, "up-form"), kernel(lab, "acked")
    exchange(lab, customer, "udhcpc", "-O", "tzdbstr")
    assert (form.grown, acked.grown) == (2, 0)
    exchange(lab, customer, "udhcpc", "-O", "tzdbstr")
    assert (form.grown, acked.grown) == (2, 1)


def test_a_release_is_python_s_and_the_kernel_is_silent_after_it(lab: Lab) -> None:
    customer = lab.customers[0]
    lease = customer.dhcp("udhcpc", keep=False)
    options = ((54, lab.pool_gateway.packed),)
    release = message(RELEASE, customer.mac, *options, ciaddr=lease.address)
    frame = framed(release, customer.mac, source=lease.address, to=lab.pool_gateway, to_mac=GATEWAY_ACCESS_MAC)
    acked, typed = kernel(lab, "acked"), kernel(lab, "up-type")
    customer.send_raw(frame)
    wait_until(lambda: not sessions(lab.gateway), "end of the session")
    customer.forget()
    customer.dhcp("udhcpc")
    assert (typed.grown, acked.grown) == (1, 0)


def test_show_dhcp_tells_who_answered_and_why_python_did(lab: Lab) -> None:
    customer = lab.customers[0]
    for _ in range(2):
        customer.forget()
        customer.dhcp("udhcpc")
    text = lab.gateway.bng("show", "dhcp", "--config", str(lab.gateway.config_file))
    kernel, python = (
        {" ".join(line.split()[:-1]): line.split()[-1] for line in table.splitlines()} for table in text.split("\n\n")
    )
    assert kernel["the data plane, since its tables were made"] == "messages"
    assert kernel["answered: offered"] == kernel["answered: acked"] == "1"
    assert kernel["left to Python: new"] == "2"
    assert kernel["standing replies in use"] == "1"
    (heading,) = (head for head in python if head.startswith("Python, since it started "))
    assert heading.endswith("s ago")
    assert python["answered: offer"] == python["answered: ack"] == "1"
    (session,) = sessions(lab.gateway)
    assert session["renewed_s"] is not None
    assert session["lease_s"] > 3590
