"""MS-CHAPv2's computations: the RFCs' vectors, and OpenSSL for DES."""

import subprocess

import pytest

from wayleave.lab.mschap import MsChap2, des, md4

NAME, PASSWORD = b"User", b"clientPass"
CHALLENGE = bytes.fromhex("5b5d7c7d7b3f2f3e3c2c602132262628")
PEER_CHALLENGE = bytes.fromhex("21402324255e262a28295f2b3a337c7e")
NT_RESPONSE = bytes.fromhex("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df")


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
        ("clientPass".encode("utf-16-le"), "44ebba8d5312b8d611474411f56989ae"),
    ],
)
def test_md4(message, digest):
    """RFC 1320 A.5; the last one RFC 2759 9.2."""
    assert md4(message).hex() == digest


@pytest.mark.parametrize("number", range(5))
def test_des_is_what_openssl_says(number):
    seven = bytes((number * 37 + at * 91) & 0xFF for at in range(7))
    clear = bytes((number * 11 + at * 59) & 0xFF for at in range(8))
    bits = int.from_bytes(seven, "big")
    key = bytes((bits >> shift & 0x7F) << 1 for shift in range(49, -1, -7))
    command = ["openssl", "enc", "-des-ecb", "-provider", "legacy", "-provider", "default", "-nopad", "-K", key.hex()]
    assert des(seven, clear) == subprocess.run(command, input=clear, capture_output=True, check=True).stdout


def test_the_response():
    """RFC 2759 9.2."""
    assert MsChap2().response(NAME, PASSWORD, CHALLENGE, PEER_CHALLENGE) == NT_RESPONSE
    assert MsChap2().response(b"DOMAIN\\User", PASSWORD, CHALLENGE, PEER_CHALLENGE) == NT_RESPONSE


def test_the_proof():
    """RFC 2759 9.2."""
    proof = MsChap2().proof(NAME, PASSWORD, CHALLENGE, PEER_CHALLENGE, NT_RESPONSE)
    assert proof == b"S=407A5589115FD0D6209F510FE9C04566932CDA56"
