"""Capture files, block by block against the specification, and whole against scapy's reader."""

from __future__ import annotations

import io

import pytest
from scapy.utils import RawPcapNgReader

from wayleave.net import pcapng

AT = 1_790_000_000_123_456_789
# draft-ietf-opsawg-pcapng 4.1 to 4.3, 4.6, written out by hand: type, length, body, options, length.
VECTORS = {
    "section": (
        pcapng.section("bng 1"),
        "0a0d0d0a 2c000000 4d3c2b1a 0100 0000 ffffffffffffffff 0400 0500 626e672031 000000 0000 0000 2c000000",
    ),
    "interface": (
        pcapng.interface("acc0", "port 1", 2048),
        "01000000 34000000 0100 0000 00080000 0200 0400 61636330 0300 0600 706f72742031 0000 0900 0100 09 000000"
        " 0000 0000 34000000",
    ),
    "packet": (
        pcapng.packet(3, 0x0102030405060708, 9, b"\xaa\xbb\xcc", True, "came"),
        "06000000 38000000 03000000 04030201 08070605 03000000 09000000 aabbcc 00 0100 0400 63616d65"
        " 0200 0400 01000000 0000 0000 38000000",
    ),
    "statistics": (
        pcapng.statistics(0, 0x0102030405060708, 7),
        "05000000 28000000 00000000 04030201 08070605 0500 0800 0700000000000000 0000 0000 28000000",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_block_is_as_the_specification_says(name: str) -> None:
    written, octets = VECTORS[name]
    assert written.hex() == octets.replace(" ", "")


@pytest.mark.parametrize("length", range(9))
def test_another_reader_finds_what_was_written(length: int) -> None:
    frame = bytes(range(length))
    file = pcapng.section("bng") + pcapng.interface("acc0", "port 1", 2048) + pcapng.interface("core0", "", 2048)
    file += pcapng.packet(0, AT, 100, frame, True, "came") + pcapng.packet(1, AT + 1, 100, frame, False, "leaves: é")
    file += pcapng.statistics(0, AT, 0)
    first, second = RawPcapNgReader(io.BytesIO(file))
    for (octets, meta), device, at, direction, comment in (
        (first, b"acc0", AT, 1, "came"),
        (second, b"core0", AT + 1, 2, "leaves: é"),
    ):
        assert octets == frame
        assert (meta.wirelen, meta.ifname, meta.direction) == (100, device, direction)
        assert meta.comments == [comment.encode()]
        assert (meta.tshigh << 32 | meta.tslow, meta.tsresol) == (at, 10**9)
