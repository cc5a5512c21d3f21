"""Digests of options: fixed values, so that neither side can change alone without a test that says so.

That the program computes the same is what `test_dhcp4.py` proves: it answers, and answers nobody else.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wayleave.dataplane.digest import digest_agent, digest_form, digest_option
from wayleave.proto.dhcp4.message import encode_options

FORM = st.dictionaries(st.sampled_from([55, 57, 60, 77]), st.binary(max_size=40))


def test_the_digest_is_that_of_its_definition() -> None:
    """Computed by hand from the definition: code and length, then one word of two octets."""
    word, factor = (1 << 64) - 1, 0x9E3779B97F4A7C15
    first = (57 << 8 | 2) * factor & word
    first ^= first >> 32
    second = (first ^ 0x4002) * factor & word
    assert digest_option(57, b"\2\x40") == second ^ second >> 32


@given(FORM)
def test_the_order_of_options_does_not_matter(options: dict[int, bytes]) -> None:
    backwards = dict(reversed(options.items()))
    assert digest_form(encode_options(options)) == digest_form(encode_options(backwards))


@given(FORM, FORM)
def test_what_differs_has_another_digest(one: dict[int, bytes], other: dict[int, bytes]) -> None:
    assert (digest_form(encode_options(one)) == digest_form(encode_options(other))) == (one == other)


@given(st.binary(max_size=255), st.integers(0, 254), st.integers(1, 255))
def test_every_octet_and_the_length_count(value: bytes, at: int, change: int) -> None:
    assert digest_option(55, value) != digest_option(60, value)
    assert digest_option(55, value) != digest_option(55, value + b"\0")
    if at < len(value):
        other = value[:at] + bytes((value[at] ^ change,)) + value[at + 1 :]
        assert digest_option(55, value) != digest_option(55, other)


def test_no_option_82_has_the_digest_of_none() -> None:
    assert digest_agent(b"") == 0
    assert digest_agent(b"\1\1x") == digest_option(82, b"\1\1x") != 0
