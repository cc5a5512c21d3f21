"""Placement: every gateway's order has every block once, and stays its own."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.nexus.placement import order, preferred


@given(st.text(min_size=1), st.integers(1, 2_000))
def test_an_order_has_every_block_once(node: str, count: int) -> None:
    assert sorted(order(node, "residential", count)) == list(range(count))


def test_an_order_among_some_is_that_of_all_without_the_others() -> None:
    some = {3, 700, 5, 255, 256}
    assert list(order("edge-1", "residential", 1_000, some)) == [
        index for index in order("edge-1", "residential", 1_000) if index in some
    ]


def test_it_is_the_same_each_time_and_another_for_each_gateway_and_pool() -> None:
    orders = [tuple(order(node, pool, 64)) for node in ("edge-1", "edge-2") for pool in ("a", "b")]
    assert len(set(orders)) == 4
    assert orders[0][:6] == (3, 7, 8, 59, 18, 20), "of every version: gateways come back to their blocks"


@pytest.mark.parametrize("count", [64, 4096])
def test_many_gateways_begin_at_different_blocks(count: int) -> None:
    firsts = {next(order(f"edge-{number}", "residential", count)) for number in range(32)}
    assert len(firsts) > 20


def test_the_first_few_of_many_are_cheap() -> None:
    assert len(list(islice(order("edge-1", "residential", 1 << 20), 8))) == 8


def test_what_is_preferred_is_the_beginning_of_the_order() -> None:
    assert preferred("edge-1", "residential", 1000, 8) == tuple(order("edge-1", "residential", 1000))[:8]
    assert sorted(preferred("edge-1", "residential", 3, 8)) == [0, 1, 2]
