"""Routes as the kernel tells them: of one device and one table, whatever else there is."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from wayleave.io import routes
from wayleave.lab.namespace import PREFIX, Namespace, create_all, delete_all


@pytest.fixture
def space() -> Iterator[Namespace]:
    made = Namespace(f"{PREFIX}-{os.getpid()}-0-routes")
    create_all([made])
    made.ip(
        "link add one type veth peer name two", "link set one up", "link set two up", "addr add 10.9.0.1/24 dev one"
    )
    yield made
    delete_all([made])


def static(space: Namespace, table: int, device: str = "one") -> set[str]:
    index = space.ifindex(device)
    return set(map(str, space.call(lambda: routes.static(table, index))))


def test_static_routes_of_a_device_in_a_table(space: Namespace) -> None:
    space.ip(
        "route add default via 10.9.0.2 proto static",
        "route add 100.64.0.0/22 via 10.9.0.2 proto static",
        "route add 100.65.0.0/24 via 10.9.0.2 proto bird",
        "route add 100.66.0.0/24 dev two proto static",
        "route add 100.67.0.0/24 via 10.9.0.2 proto static table 1000",
    )
    assert static(space, 254) == {"0.0.0.0/0", "100.64.0.0/22"}, "neither the kernel's own nor a daemon's"
    assert static(space, 254, "two") == {"100.66.0.0/24"}
    assert static(space, 1000) == {"100.67.0.0/24"}
    assert static(space, 1001) == set(), "there is no such table"


def test_more_routes_than_one_answer_holds(space: Namespace) -> None:
    expected = {f"10.10.{number // 256}.{number % 256}/32" for number in range(2000)}
    space.ip(*(f"route add {network} via 10.9.0.2 proto static" for network in expected))
    assert static(space, 254) == expected
