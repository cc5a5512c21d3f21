"""Malformed says where, why and by which rule."""

from wayleave.net.errors import Malformed


def test_malformed_reads_as_a_sentence():
    error = Malformed(2, "hlen 17 past chaddr", "RFC 2131 2")
    assert (error.offset, error.why, error.source) == (2, "hlen 17 past chaddr", "RFC 2131 2")
    assert str(error) == "octet 2: hlen 17 past chaddr (RFC 2131 2)"
