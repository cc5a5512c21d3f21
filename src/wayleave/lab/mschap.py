"""What a client of MS-CHAPv2 computes. It needs MD4 and DES, which Python has not: the lab's are slow and small.

Nothing in the gateway imports this: it hands challenge and response to RADIUS.

Source: RFC 2759 8 (MS-CHAPv2), RFC 1320 3 (MD4), FIPS 46-3 (DES).
"""

from __future__ import annotations

import hashlib
import struct

_WORD = 0xFFFFFFFF


class MsChap2:
    """RFC 2759's computations: a `proto.ppp.account.MsChap2Computer`."""

    def response(self, name: bytes, password: bytes, challenge: bytes, peer_challenge: bytes) -> bytes:
        """Return the 24 octets of the NT response (RFC 2759 8.1)."""
        key = _password_hash(password).ljust(21, b"\0")
        clear = _challenge_hash(peer_challenge, challenge, name)
        return b"".join(des(key[at : at + 7], clear) for at in (0, 7, 14))

    def proof(self, name: bytes, password: bytes, challenge: bytes, peer_challenge: bytes, nt_response: bytes) -> bytes:
        """Return what the authenticator has to say, `S=` and 40 digits (RFC 2759 8.7)."""
        twice = md4(_password_hash(password))
        inner = hashlib.sha1(twice + nt_response + b"Magic server to client signing constant").digest()
        clear = _challenge_hash(peer_challenge, challenge, name)
        outer = hashlib.sha1(inner + clear + b"Pad to make it do more than one iteration").digest()
        return b"S=" + outer.hex().upper().encode()


def _challenge_hash(peer_challenge: bytes, challenge: bytes, name: bytes) -> bytes:
    """Return 8 octets; of `DOMAIN\\user` the user counts. Source: RFC 2759 8.2 and 4."""
    return hashlib.sha1(peer_challenge + challenge + name.rpartition(b"\\")[2]).digest()[:8]


def _password_hash(password: bytes) -> bytes:
    """Source: RFC 2759 8.3."""
    return md4(password.decode().encode("utf-16-le"))


# ---- MD4 --------------------------------------------------------------------------------

_ROUNDS = (
    (0x00000000, (3, 7, 11, 19), tuple(range(16))),
    (0x5A827999, (3, 5, 9, 13), tuple(4 * (number % 4) + number // 4 for number in range(16))),
    (0x6ED9EBA1, (3, 9, 11, 15), tuple(int(f"{number:04b}"[::-1], 2) for number in range(16))),
)


def md4(message: bytes) -> bytes:
    """Return the digest. Source: RFC 1320 3."""
    padded = message + b"\x80" + bytes(-(len(message) + 9) % 64) + struct.pack("<Q", 8 * len(message))
    state = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
    for at in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, at)
        a, b, c, d = state
        for number, (constant, shifts, order) in enumerate(_ROUNDS):
            for step, word in enumerate(order):
                mixed = (b & c | ~b & d, b & c | b & d | c & d, b ^ c ^ d)[number]
                turned = (a + mixed + words[word] + constant) & _WORD
                shift = shifts[step % 4]
                a, b, c, d = d, (turned << shift | turned >> 32 - shift) & _WORD, b, c
        state = ((state[0] + a) & _WORD, (state[1] + b) & _WORD, (state[2] + c) & _WORD, (state[3] + d) & _WORD)
    return struct.pack("<4I", *state)


# ---- DES --------------------------------------------------------------------------------

_INITIAL = tuple(start - 8 * row for start in (58, 60, 62, 64, 57, 59, 61, 63) for row in range(8))
_FINAL = tuple(_INITIAL.index(bit) + 1 for bit in range(1, 65))
_EXPANSION = tuple((4 * box + bit - 1) % 32 + 1 for box in range(8) for bit in range(6))
# fmt: off
_PERMUTATION = (
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
    2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
)
_CHOICE_1 = (
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
)
_CHOICE_2 = (
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
)
_SHIFTS = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)
# fmt: on
_BOXES = (
    ["e4d12fb83a6c5907", "0f74e2d1a6cb9538", "41e8d62bfc973a50", "fc8249175b3ea06d"],
    ["f18e6b34972dc05a", "3d47f28ec01a69b5", "0e7ba4d158c6932f", "d8a13f42b67c05e9"],
    ["a09e63f51dc7b428", "d709346a285ecbf1", "d6498f30b12c5ae7", "1ad069874fe3b52c"],
    ["7de3069a1285bc4f", "d8b56f03472c1ae9", "a690cb7df13e5284", "3f06a1d8945bc72e"],
    ["2c417ab6853fd0e9", "eb2c47d150fa3986", "421bad78f9c5630e", "b8c71e2d6f09a453"],
    ["c1af92680d34e75b", "af427c9561de0b38", "9ef528c3704a1db6", "432c95fabe17608d"],
    ["4b2ef08d3c975a61", "d0b7491ae35c2f86", "14bdc37eaf680592", "6bd814a7950fe23c"],
    ["d2846fb1a93e50c7", "1fd8a374c56b0e92", "7b419ce206adf358", "21e74a8dfc90356b"],
)
"""Four rows of sixteen hexadecimal digits a box."""


def des(key: bytes, clear: bytes) -> bytes:
    """Encrypt 8 octets with a key of 7, whose parity bits are left out. Source: FIPS 46-3, RFC 2759 8.6."""
    left, right = _halves(_pick(_bits(clear), _INITIAL))
    upper, lower = _halves("".join(_bits(key)[bit - 1 - bit // 8] for bit in _CHOICE_1))
    for shift in _SHIFTS:
        upper, lower = upper[shift:] + upper[:shift], lower[shift:] + lower[:shift]
        left, right = right, _xor(left, _mangle(right, _pick(upper + lower, _CHOICE_2)))
    return int(_pick(right + left, _FINAL), 2).to_bytes(8, "big")


def _mangle(half: str, key: str) -> str:
    mixed = _xor(_pick(half, _EXPANSION), key)
    digits = ""
    for number, box in enumerate(_BOXES):
        six = mixed[6 * number : 6 * number + 6]
        digits += box[int(six[0] + six[5], 2)][int(six[1:5], 2)]
    return _pick(f"{int(digits, 16):032b}", _PERMUTATION)


def _bits(octets: bytes) -> str:
    return "".join(f"{octet:08b}" for octet in octets)


def _pick(bits: str, places: tuple[int, ...]) -> str:
    return "".join(bits[place - 1] for place in places)


def _halves(bits: str) -> tuple[str, str]:
    return bits[: len(bits) // 2], bits[len(bits) // 2 :]


def _xor(one: str, other: str) -> str:
    return f"{int(one, 2) ^ int(other, 2):0{len(one)}b}"
