"""Octets with their meaning and their source, and how every decoder is fed with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wayleave.net.errors import Malformed


def load(name: str) -> list[dict[str, Any]]:
    """Return the rows of a file in this folder."""
    rows: list[dict[str, Any]] = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    assert rows
    assert all(row["meaning"] and row["source"] for row in rows)
    return rows


def feed(decode: Callable[[bytes], object], data: bytes) -> int:
    """Decode `data` cut at every octet, with every octet spoilt, and with garbage behind it.

    Anything but Malformed propagates, and fails the test; so does an offset outside. Returns how many were refused.
    """
    spoilt = [data[:cut] for cut in range(len(data))]
    for at, octet in enumerate(data):
        spoilt += [data[:at] + bytes((other,)) + data[at + 1 :] for other in (0, 255, octet ^ 0x80, octet ^ 1)]
    spoilt += [data + b"\xff", data + b"\0", data + data, data[1:], data[::-1]]
    return sum(_refuses(decode, octets) for octets in spoilt)


def _refuses(decode: Callable[[bytes], object], octets: bytes) -> bool:
    try:
        decode(octets)
    except Malformed as error:
        if not (0 <= error.offset <= len(octets) and error.why and error.source):
            raise AssertionError(f"{error!r} says nothing about {octets.hex()}") from error
        return True
    return False
