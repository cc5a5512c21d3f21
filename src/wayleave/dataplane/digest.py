"""Digests of DHCP options, as the program computes them of a request (bpf/dhcp4_request.h).

A multiplication and a shift a word of eight octets. That two requests of one client collide is a matter of 2**-64;
whoever looks for a collision gets the options that he asked for before.
"""

from __future__ import annotations

from functools import lru_cache

_WORD = (1 << 64) - 1
_FACTOR = 0x9E3779B97F4A7C15


def _mix(digest: int, word: int) -> int:
    digest = (digest ^ word) * _FACTOR & _WORD
    return digest ^ digest >> 32


def digest_option(code: int, value: bytes) -> int:
    """Return the digest of one option of at most 255 octets."""
    digest = _mix(0, code << 8 | len(value))
    for at in range(0, len(value), 8):
        digest = _mix(digest, int.from_bytes(value[at : at + 8], "little"))
    return digest


@lru_cache(maxsize=4096)
def digest_form(form: bytes) -> int:
    """Return the sum of the digests of options as they stand on the wire; their order does not matter."""
    total = at = 0
    while at < len(form):
        start = at + 2
        at = start + form[at + 1]
        total += digest_option(form[start - 2], form[start:at])
    return total & _WORD


@lru_cache(maxsize=4096)
def digest_agent(value: bytes) -> int:
    """Return the digest of an option 82, 0 for none."""
    return digest_option(82, value) if value else 0
