"""`bng explain`: a packet in words, or out of a file, becomes a question; the verdict becomes lines to read."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path
from typing import Any

from wayleave.cli.client import Misused
from wayleave.net import pcapng
from wayleave.net.errors import Malformed
from wayleave.net.pcapng import Captured, Interface

FORM = "say it as: udp|tcp from CLIENT or ADDRESS[:PORT] to ADDRESS:PORT, or icmp from CLIENT or ADDRESS to ADDRESS"
_PROTOCOLS = ("udp", "tcp", "icmp")
_MAGICS = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">"}

FILE_MAX = 256 << 20
"""Octets of a capture file, at most: it is read whole."""


def question(words: Sequence[str], port: int | None, find: Callable[[str], int | None]) -> dict[str, object]:
    """Return what to ask the API. `find` gives the id of a session, or None where an address is no client's.

    Raises: Misused with how to say it.
    """
    said = [word for word in words if word != "client"]
    if len(said) != 5 or said[0] not in _PROTOCOLS or (said[1], said[3]) != ("from", "to"):
        raise Misused(f"{' '.join(words) or 'no packet'}: {FORM}")
    sender, sport = _end(said[2])
    to, dport = _end(said[4])
    if said[0] == "icmp" and (sport, dport) != (None, None):
        raise Misused(f"icmp has no ports: {FORM}")
    if said[0] != "icmp" and dport is None:
        raise Misused(f"{said[0]} needs a port to go to, such as {to}:53: {FORM}")
    asked: dict[str, object] = {"protocol": said[0], "destination": str(_address(to)), "port": port}
    if dport is not None:
        asked["dport"] = dport
    if sport is not None:
        asked["sport"] = sport
    session = find(sender)
    return asked | ({"session": session} if session is not None else {"source": str(_address(sender))})


def _end(text: str) -> tuple[str, int | None]:
    """Take `ADDRESS:PORT` apart; a MAC has more colons."""
    name, colon, number = text.partition(":")
    if not colon or ":" in number:
        return text, None
    if not number.isdigit() or int(number) > 65535:
        raise Misused(f"{text}: {number} is no port; {FORM}")
    return name, int(number)


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise Misused(f"{text} is neither a client nor an address; {FORM}") from None


def frame_of(path: Path, number: int, port: int | None) -> dict[str, object]:
    """Return what to ask the API about the `number`th frame of a capture file, from 1.

    `port` None: the port that the file says, as `bng capture` writes it. Raises: Misused with what is wrong with it.
    """
    try:
        if path.stat().st_size > FILE_MAX:
            raise Misused(f"{path} has more than {FILE_MAX >> 20} MiB: cut it, as with `editcap -r IN OUT 1-100`")
        frame = next(islice(_frames(path, path.read_bytes()), number - 1, None), None)
    except OSError as error:
        raise Misused(f"{path}: {error.strerror}") from error
    except Malformed as error:
        raise Misused(f"{path}: {error}") from error
    if frame is None:
        raise Misused(f"{path} has no packet {number}")
    if frame.interface.link != pcapng.ETHERNET:
        raise Misused(f"{path} was not captured on Ethernet (link type {frame.interface.link})")
    if len(frame.octets) < frame.length:
        raise Misused(f"{path}: packet {number} is cut off: capture whole packets")
    return {"frame": frame.octets.hex(), "port": port if port is not None else _port(path, number, frame)}


def _port(path: Path, number: int, frame: Captured) -> int:
    said = re.fullmatch(r"port (\d+)", frame.interface.description)
    if said is None:
        raise Misused(f"{path} does not say by which port packet {number} came: say --port")
    if frame.outbound:
        raise Misused(f"packet {number} of {path} leaves the gateway: say --packet of one that came in, or --port")
    return int(said[1])


def _frames(path: Path, data: bytes) -> Iterator[Captured]:
    """Yield the frames of a capture, pcapng or pcap. Source of the latter: draft-ietf-opsawg-pcap 4 and 5."""
    if data[:4] == pcapng.MAGIC:
        yield from pcapng.decode(data)
        return
    order = _MAGICS.get(data[:4])
    if order is None or len(data) < 24:
        raise Misused(f"{path} is no capture file: neither pcapng nor pcap")
    snap, link = struct.unpack_from(order + "16xII", data)
    interface = Interface(link & 0xFFFF, "", snap)
    at = 24
    while at + 16 <= len(data):
        length, whole = struct.unpack_from(order + "8xII", data, at)
        yield Captured(interface, data[at + 16 : at + 16 + length], whole, False)
        at += 16 + length


def rows(verdict: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield what a verdict says, line by line."""
    yield "comes in", f"port {verdict['port']} ({verdict['device']}): {verdict['came']}"
    session, receiver = verdict["session"], verdict["receiver"]
    for head, id_ in (("session", session),) if receiver in (None, session) else (("from", session), ("for", receiver)):
        if id_ is not None:
            yield head, f"{id_}: bng show session {id_}"
    yield "stages", " > ".join(verdict["stages"])
    if verdict["dhcp4"] is not None:
        yield "dhcp", verdict["dhcp4"]
    if verdict["outcome"] == "dropped":
        yield "verdict", f"dropped: {verdict['reason']}"
        return
    port = f" by port {verdict['out']} ({verdict['out_device']})" if verdict["out"] is not None else ""
    yield "verdict", verdict["outcome"] + port
    yield "leaves", verdict["leaves"] if verdict["rewritten"] != verdict["frame"] else "as it came"
