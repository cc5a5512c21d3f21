"""What the gateway requires of whoever sends to it: whole checksums, and packets as they go over a wire."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.packet import TCP
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

PORT = 8080


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Customers that leave their checksums to hardware that a veth does not have."""
    with Lab([Line(100, 1), Line(100, 2)], offloads=True) as lab:
        lab.gateway.start(lab.config())
        for customer in lab.customers:
            customer.dhcp("udhcpc")
        yield lab


def _connects(lab: Lab, number: int) -> bool:
    client = lab.customers[number].socket(socket.SOCK_STREAM)
    client.settimeout(0.5)
    try:
        client.connect((str(lab.server_address), PORT))
    except TimeoutError:
        return False
    finally:
        client.close()
    return True


def test_partial_checksums_arrive_as_they_left(lab: Lab) -> None:
    """Ping carries its checksum itself and passes; TCP's is half done, and the server throws it away."""
    plain, offloading = lab.customers
    plain.namespace.offloads("eth0")
    lab.server.socket(socket.SOCK_STREAM, PORT).listen()
    assert offloading.ping(lab.server_address)
    with lab.router.capture() as core:
        assert not _connects(lab, 1)
        assert core.matching(lambda f: f.ip and f.ip.protocol == TCP and f.ip.source == offloading.address)
    assert _bad_checksums(lab) > 0
    assert _connects(lab, 0), "with its offloads off it works"
    offloading.namespace.offloads("eth0")
    wait_until(lambda: _connects(lab, 1), "connection once the offloads are off", 5)


def _bad_checksums(lab: Lab) -> int:
    """TcpInCsumErrors of the server."""
    text = lab.server.run("nstat", "-asz", "TcpInCsumErrors")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("TcpInCsumErrors")))
