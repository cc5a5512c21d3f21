"""`python -m tests.fuzz TARGET [libFuzzer options]`: fuzz one decoder until it breaks or time is up.

What a decoder does with octets from a peer: it returns something that encodes again to what decodes to the same, or it
raises Malformed with an offset inside. Whatever else it does is a crash, and libFuzzer writes the octets down.
The seeds are the tests' vectors; what was found of use before lies in `corpus/TARGET`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wayleave.net", "wayleave.proto", "wayleave.access"]):
    from wayleave.access.demux import Heard, Ignored, hear
    from wayleave.access.settings import PortSettings
    from wayleave.net import frame, pcapng
    from wayleave.net.errors import Malformed
    from wayleave.net.probe import describe
    from wayleave.proto.dhcp4 import message, relay, standing
    from wayleave.proto.dhcp4.options import BY_CODE
    from wayleave.proto.radius import packet as radius
    from wayleave.proto.radius.dictionary import STANDARD
    from wayleave.proto.radius.types import TYPES

from tests import vectors

CORPUS = Path(__file__).with_name("corpus")
_PORT = PortSettings(number=1, device="olt0", role="subscriber", trusted=True, line="circuit")


def fuzz_frame(data: bytes) -> None:
    """Ethernet and UDP; and the line of words for any frame."""
    describe(data)
    outer = frame.decode(data)
    frame.vids(outer)
    frame.decode_udp4(outer.payload, verify_checksum=False)


def fuzz_message(data: bytes) -> None:
    """A DHCP message: what was read is written so that it reads the same."""
    asked = message.decode(data)
    form = standing.form(asked)
    if len(asked.sname) <= 64 and len(asked.file) <= 128:
        again = message.decode(message.encode(asked, 65535))
        assert again == asked
        assert standing.form(again) == form


def fuzz_relay(data: bytes) -> None:
    """Option 82."""
    agent = relay.decode(data)
    assert relay.decode(relay.encode(agent)) == agent


def fuzz_options(data: bytes) -> None:
    """Every option's codec: the first octet says which."""
    option = BY_CODE.get(data[0]) if data else None
    if option is not None:
        value = option.decode(data[1:])
        try:
            octets = option.encode(value)
        except ValueError:
            return  # some octets read as what nobody would write, such as text that is no UTF-8
        assert option.decode(octets) == value


def fuzz_radius(data: bytes) -> None:
    """A RADIUS packet and its attributes: what was read is written so that it reads the same."""
    packet = radius.decode(data)
    again = radius.encode(packet.code, packet.identifier, packet.authenticator, packet.attributes)
    assert radius.decode(again) == packet
    radius.doubt_response(data, packet, radius.ZEROS, b"secret", required=True)
    radius.doubt_request(data, packet, b"secret", required=False)
    for attribute, octets in STANDARD.explode(packet.attributes):
        try:
            value = attribute.decode(octets)
        except Malformed:
            continue
        assert attribute.decode(attribute.type.encode(value)) == value
        attribute.show(value)


def fuzz_values(data: bytes) -> None:
    """Every type of RADIUS values: the first octet says which."""
    types = list(TYPES.values())
    if data and data[0] < len(types):
        type_ = types[data[0]]
        value = type_.decode(data[1:])
        assert type_.decode(type_.encode(value)) == value
        type_.show(value)


def fuzz_access(data: bytes) -> None:
    """A punted frame, all the way to an event; peers never raise past here."""
    try:
        heard = hear(_PORT, data)
    except Malformed as error:
        raise AssertionError(f"{error} got past the access room") from error
    assert isinstance(heard, Heard | Ignored)


def fuzz_pcapng(data: bytes) -> None:
    """A capture file: what was read is written so that it reads the same."""
    found = list(pcapng.decode(data))
    file = pcapng.section("")
    for number, item in enumerate(found):
        file += pcapng.interface("", item.interface.description, item.interface.snap)
        file += pcapng.packet(number, 0, item.length, item.octets, not item.outbound, "")
    again = list(pcapng.decode(file))
    for before, after in zip(found, again, strict=True):
        assert (after.octets, after.length, after.outbound) == (before.octets, before.length, before.outbound)
        assert after.interface.description == before.interface.description


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frame": fuzz_frame,
    "message": fuzz_message,
    "relay": fuzz_relay,
    "options": fuzz_options,
    "radius": fuzz_radius,
    "values": fuzz_values,
    "access": fuzz_access,
    "pcapng": fuzz_pcapng,
}


def seeds(target: str) -> Iterable[bytes]:
    """The tests' vectors, as a target wants them."""
    match target:
        case "frame" | "access":
            return [bytes.fromhex(row["hex"]) for row in vectors.load("frames")]
        case "message":
            return [bytes.fromhex(row["hex"]) for row in vectors.load("dhcp4_messages")]
        case "pcapng":
            file = pcapng.section("seed") + pcapng.interface("acc0", "port 1", 2048)
            return [file + pcapng.packet(0, 1, 60, bytes(range(60)), True, "came") + pcapng.statistics(0, 2, 0)]
        case "relay":
            return [bytes.fromhex(row["hex"]) for row in vectors.load("relay_agents")]
        case "radius":
            return [bytes.fromhex(row["hex"]) for row in vectors.load("radius_packets")]
        case "values":
            return [bytes((kind,)) + bytes(octets) for kind in range(len(TYPES)) for octets in (1, 4, 6, 8, 16)]
        case _:
            return [bytes((row["code"],)) + bytes.fromhex(row["hex"]) for row in vectors.load("dhcp4_options")]


def judge(target: Callable[[bytes], None], data: bytes) -> None:
    """Run a target; a refusal has to name a place in the data, why, and the source."""
    try:
        target(data)
    except Malformed as error:
        if not (error.offset >= 0 and error.why and error.source):
            raise AssertionError(f"{error!r} says nothing about {data.hex()}") from error


def main(arguments: list[str]) -> None:
    """`--corpus DIR` puts what is found elsewhere: the folder in the tree is then only read."""
    name = arguments[0] if arguments else ""
    if name not in TARGETS:
        sys.exit(f"say which: {' '.join(TARGETS)}")
    kept = CORPUS / name
    folders = [kept]
    if "--corpus" in arguments:
        at = arguments.index("--corpus")
        folders.insert(0, Path(arguments[at + 1]))
        del arguments[at : at + 2]
    folders[0].mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (folders[0] / f"vector-{number}").write_bytes(seed)
    options = [sys.argv[0], *arguments[1:], *(str(folder) for folder in folders if folder.exists())]
    atheris.Setup(options, lambda data: judge(TARGETS[name], data))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
