"""Control packets as tests of the protocols that have options say and read them."""

from wayleave.proto.ppp.packet import Code, decode, decode_options, encode, encode_options


def request(*options):
    return encode(Code.CONFIGURE_REQUEST, 3, encode_options(options))


def answer(asked, code, *options):
    """What a peer says to a request; its own options if none are given."""
    packet = decode(asked)
    return encode(code, packet.identifier, encode_options(options) if options else packet.data)


def said(packet):
    return decode(packet).code, dict(decode_options(decode(packet).data))
