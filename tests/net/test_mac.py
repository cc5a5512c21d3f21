"""MAC addresses: six octets that read and print."""

import pytest

from wayleave.net.mac import BROADCAST, Mac


@pytest.mark.parametrize("text", ["02:00:00:00:00:01", "02-00-00-00-00-01", "02:00:00:00:00:01".upper()])
def test_text_becomes_octets(text):
    mac = Mac.parse(text)
    assert mac == b"\x02\0\0\0\0\x01"
    assert str(mac) == "02:00:00:00:00:01"
    assert not mac.is_multicast


@pytest.mark.parametrize("text", ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "0g:00:00:00:00:01", "020000000001"])
def test_other_text_is_refused_in_words(text):
    with pytest.raises(ValueError, match="write it as 02:00:00:00:00:01"):
        Mac.parse(text)


def test_broadcast_is_multicast():
    assert BROADCAST.is_multicast
    assert str(BROADCAST) == "ff:ff:ff:ff:ff:ff"
