"""Capture files, block by block against the specification, and whole against scapy's reader."""

from __future__ import annotations

import io
import struct

import pytest
from scapy.utils import RawPcapNgReader

from wayleave.net import pcapng
from wayleave.net.errors import Malformed
from wayleave.net.pcapng import Captured, Interface

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


SECTION = pcapng.section("bng")
FILE = (
    SECTION
    + pcapng.interface("acc0", "port 1", 2048)
    + pcapng.interface("core0", "port 100", 64)
    + pcapng.packet(0, AT, 7, b"came in", True, "came")
    + pcapng.packet(1, AT, 100, b"leaves", False, "leaves")
    + pcapng.statistics(0, AT, 0)
)


def test_what_was_written_is_read() -> None:
    came, leaves = pcapng.decode(FILE)
    assert came == Captured(Interface(1, "port 1", 2048), b"came in", 7, False)
    assert leaves == Captured(Interface(1, "port 100", 64), b"leaves", 100, True)


# draft-ietf-opsawg-pcapng 4.1, 4.2, 4.4, by hand: big-endian, snap length 4, then a frame of 6 octets, 4 of them kept.
BIG_ENDIAN = bytes.fromhex(
    "0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c"
    "00000001 00000014 0071 0000 00000004 00000014"
    "00000003 00000014 00000006 aabbccdd 00000014"
)


def test_the_other_byte_order_and_simple_packets_are_read() -> None:
    assert list(pcapng.decode(BIG_ENDIAN)) == [Captured(Interface(0x71, "", 4), bytes.fromhex("aabbccdd"), 6, False)]


def test_a_section_declares_its_own_interfaces() -> None:
    both = list(pcapng.decode(BIG_ENDIAN + FILE))
    assert [item.interface.description for item in both] == ["", "port 1", "port 100"]
    with pytest.raises(Malformed, match="interface 0, which was not declared"):
        list(pcapng.decode(FILE + pcapng.section("next") + pcapng.packet(0, AT, 1, b"x", True, "")))


@pytest.mark.parametrize("file", [FILE, BIG_ENDIAN])
def test_a_file_that_is_cut_off_gives_what_is_whole_and_then_says_so(file: bytes) -> None:
    whole = list(pcapng.decode(file))
    good = []
    for length in range(len(file)):
        read, error = decoded(file[:length])
        assert read == whole[: len(read)]
        assert error is None or (error.offset <= length and error.source)
        good += [length] if error is None else []
    assert good == file_blocks(file), "only between blocks it may end"


def decoded(file: bytes) -> tuple[list[Captured], Malformed | None]:
    """What is read, and what ends it."""
    read: list[Captured] = []
    try:
        for item in pcapng.decode(file):
            read.append(item)
    except Malformed as error:
        return read, error
    return read, None


def file_blocks(file: bytes) -> list[int]:
    """Where the blocks of a file begin."""
    order = "<" if file[8] == 0x4D else ">"
    found, at = [], 0
    while at < len(file):
        found.append(at)
        at += struct.unpack_from(order + "I", file, at + 4)[0]
    return found


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"\xd4\xc3\xb2\xa1" + bytes(40), "no section begins here"),
        (b"\x0a\x0d\x0d\x0a" + bytes(24), "no section begins here"),
        (FILE[:4] + b"\x0d" + FILE[5:], "a block of 13 octets"),
        (FILE[:4] + b"\x08" + FILE[5:], "a block of 8 octets"),
        (SECTION + pcapng._block(6, bytes(8)), "too short for its type"),
        (SECTION + pcapng._block(1, struct.pack("<HHIHH", 1, 0, 0, 3, 9)), "an option does not fit"),
        (SECTION[:-4] + bytes(4) + FILE[len(SECTION) :], "two lengths differ"),
    ],
)
def test_what_is_not_as_specified_is_malformed(file: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        list(pcapng.decode(file))


def test_a_frame_longer_than_its_block_is_malformed() -> None:
    block = pcapng._block(6, struct.pack("<IIIII", 0, 0, 0, 400, 400) + bytes(40))
    with pytest.raises(Malformed, match="400 octets of a frame do not fit"):
        list(pcapng.decode(pcapng.section("") + pcapng.interface("", "", 0) + block))
