"""A disk that is full or read-only: newcomers are refused and told why in the log, everybody else is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.watch import Meter, sessions
from wayleave.lab.access_node import Line
from wayleave.lab.customer import NoLease
from wayleave.lab.namespace import run
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until


def fill(folder: Path) -> None:
    """Write until nothing more goes onto it."""
    with open(folder / "ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            pass


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The gateway's state is on a disk of its own."""
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        state = lab.folder / "state"
        state.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(state)])
        try:
            yield lab
        finally:
            lab.gateway.close()
            run(["umount", "-l", str(state)])


def test_on_a_full_disk_newcomers_are_refused_and_everybody_else_is_served(lab: Lab) -> None:
    state = lab.folder / "state"
    lab.gateway.start(lab.config())
    known, newcomer = lab.customers
    address = known.dhcp("udhcpc").address
    fill(state)
    closed = Meter(lab.gateway, "sessions", "closed", "store-failed")
    with pytest.raises((NoLease, TimeoutError)):
        newcomer.dhcp("udhcpc", "-t", "2", timeout=10)
    closed.wait(1)
    status, answer = lab.gateway.request("GET", "/readyz")
    assert status == 503
    assert "the lease store failed" in answer["why"][0]
    assert "store-failed" in lab.gateway.log
    assert [item["address"] for item in sessions(lab.gateway, phase="active")] == [str(address)]
    assert known.ping(lab.server_address)
    known.forget()
    assert known.dhcp("udhcpc").address == address, "who is known has his address"
    (state / "ballast").unlink()
    assert newcomer.dhcp("udhcpc").address != address
    assert newcomer.ping(lab.server_address)
    wait_until(lambda: lab.gateway.request("GET", "/readyz")[0] == 200, "a gateway that is ready again")


def test_on_a_read_only_disk_it_does_not_start_and_says_why(lab: Lab) -> None:
    """A disk that can be written to is a condition of every promise."""
    run(["mount", "-o", "remount,ro", str(lab.folder / "state")])
    lab.gateway.start(lab.config(), ready=False)
    process = lab.gateway.process
    assert process is not None
    assert process.wait() == 1
    assert "is the folder writable, and is there room on the disk?" in lab.gateway.log
    run(["mount", "-o", "remount,rw", str(lab.folder / "state")])
    assert lab.gateway.restart()
