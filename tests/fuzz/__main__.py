"""`python -m tests.fuzz TARGET [libFuzzer options]`: fuzz one decoder until it breaks or time is up.

What a decoder does with octets from a peer: it returns something that encodes again to what decodes to the same, or it
raises Malformed with an offset inside. Whatever else it does is a crash, and libFuzzer writes the octets down.
The seeds are the tests' vectors; what was found of use before lies in `corpus/TARGET`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wayleave.net", "wayleave.proto", "wayleave.access"]):
    from wayleave.access.demux import Heard, Ignored, hear
    from wayleave.access.settings import PortSettings
    from wayleave.net import frame, pcapng
    from wayleave.net.errors import Malformed
    from wayleave.net.mac import Mac
    from wayleave.net.probe import describe
    from wayleave.net.units import SECOND, BootNs
    from wayleave.proto.dhcp4 import message, relay, standing
    from wayleave.proto.dhcp4.options import BY_CODE
    from wayleave.proto.nexus import answers
    from wayleave.proto.nexus.events import Events
    from wayleave.proto.nexus.messages import Claim, Renew
    from wayleave.proto.ppp import auth
    from wayleave.proto.ppp import packet as ppp
    from wayleave.proto.ppp.automaton import NEVER, Timers
    from wayleave.proto.ppp.ipcp import IpcpServer
    from wayleave.proto.ppp.ipv6cp import Ipv6cpServer
    from wayleave.proto.ppp.news import Authenticate, Send
    from wayleave.proto.ppp.session import Phase, Session, Settings
    from wayleave.proto.pppoe import discovery, line
    from wayleave.proto.pppoe import packet as pppoe
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


def fuzz_discovery(data: bytes) -> None:
    """A discovery packet, what the access node says in it, and the concentrator's answer."""
    packet = pppoe.decode(data)
    assert pppoe.decode(pppoe.encode(packet.code, packet.session_id, packet.tags)) == packet
    for said in (discovery.offer(packet, _CONCENTRATOR, b"cookie"), _confirm(packet)):
        if isinstance(said, bytes):
            pppoe.decode(said)
            assert len(said) <= 1500
    info = line.of(packet)
    if info is not None:
        assert line.decode(line.encode(info)[1]) == info


def fuzz_nexus(data: bytes) -> None:
    """An answer of Nexus, as the first octet says which: what was read can be shown, and be put on a disk."""
    match data[:1]:
        case b"\0":
            answers.answer(Renew(0), data[1:])
        case b"\1":
            answers.answer(Claim(1, "home"), data[1:])
        case b"\2":
            page = answers.page(data[1:])
            assert 0 <= page.revision < 1 << 63
            assert all(name.encode() and value for name, value in page.entries)
        case b"\3":
            assert str(answers.read(answers.Problem, data[1:])).isprintable()


def fuzz_events(data: bytes) -> None:
    """A stream of events: it says the same at once and octet by octet."""
    whole, each = Events(1 << 20), Events(1 << 20)
    found = whole.receive(data)
    assert [event for octet in data for event in each.receive(bytes((octet,)))] == found
    for event in found:
        with suppress(Malformed):
            revision, changes = answers.told(event)
            assert 0 <= revision < 1 << 63
            assert all(name.encode() and value != b"null" for name, value in changes)


def fuzz_pppoe_session(data: bytes) -> None:
    """A packet of an established PPPoE session: what was read is written so that it reads the same."""
    packet = pppoe.decode_session(data)
    again = pppoe.encode_session(packet.session_id, packet.protocol, packet.information)
    assert pppoe.decode_session(again) == packet


def fuzz_lcp(data: bytes) -> None:
    """A control packet and its options: what was read is written so that it reads the same."""
    packet = ppp.decode(data)
    assert ppp.decode(ppp.encode(packet.code, packet.identifier, packet.data)) == packet
    options = ppp.decode_options(packet.data)
    assert ppp.decode_options(ppp.encode_options(options)) == options


def fuzz_auth(data: bytes) -> None:
    """PAP or CHAP, as the first octet says, and each authenticator."""
    if data[:1] == b"\0":
        said = auth.decode_pap(data[1:])
        assert auth.decode_pap(auth.counted(said.name) + auth.counted(said.password)) == said
    elif data[:1] == b"\1":
        value, name = auth.decode_chap(data[1:])
        assert auth.decode_chap(auth.counted(value) + name) == (value, name)
    elif data:
        machine = auth.ChapAuthenticator(auth.Patience(), challenge=bytes(16), microsoft=bool(data[0] & 1))
        machine.receive(ppp.decode(data[1:]))


def fuzz_ppp(data: bytes) -> None:
    """A whole session that is told anything: it never raises, it answers little, and left alone it ends.

    A length (1), a protocol (1, of a list), and a packet of that length, again and again.
    """
    session = Session(_SETTINGS, bytes, 1492)
    session.open(_NOW)
    at = 0
    while at + 2 <= len(data):
        protocol = _PROTOCOLS[data[at + 1] % len(_PROTOCOLS)]
        said = session.receive(protocol, data[at + 2 : at + 2 + data[at]], _NOW)
        for asked in [out for out in said if isinstance(out, Authenticate)]:
            said += session.decide(asked.attempt, data[at] % 8 > 0, b"", _granted(), _NOW)
        assert len(said) < 12
        at += 2 + data[at]
    for _ in range(100):
        if session.deadline == NEVER:
            break
        session.expire(session.deadline)
    assert session.phase is Phase.DEAD


_CONCENTRATOR = discovery.Concentrator(name="bng", services=("gold", ""), most_payload=1500)
_SETTINGS = Settings(name=b"bng", demands=tuple(auth.Authentication))
_PROTOCOLS = [*ppp.Protocol, 0x80FD]
_NOW = BootNs(1000 * SECOND)
_MAC = Mac(b"\2\0\0\0\0\1")


def _confirm(packet: pppoe.Packet) -> object:
    """A PADR with a cookie that holds, so that what is behind it is reached."""
    tags = [tag for tag in packet.tags if tag[0] != pppoe.AC_COOKIE.number]
    tags.append((pppoe.AC_COOKIE.number, discovery.cookie(b"key", _MAC, b"line", _NOW)))
    padr = pppoe.Packet(packet.code, packet.session_id, tuple(tags))
    said = discovery.confirm(padr, _CONCENTRATOR, [b"key"], _MAC, b"line", _NOW)
    return discovery.established(said, 7) if isinstance(said, discovery.Confirmed) else said


def _conversation() -> Iterable[bytes]:
    """What a client says, from its first word to its last, as `fuzz_ppp` hears it."""
    session = Session(_SETTINGS, bytes, 1492)
    address = ppp.encode_options([(3, IPv4Address("10.0.0.2").packed)])
    mine = [
        (ppp.Protocol.LCP, ppp.encode(ppp.Code.CONFIGURE_REQUEST, 1)),
        (ppp.Protocol.PAP, ppp.encode(auth.PapCode.REQUEST, 1, b"\5alice\2pw")),
        (ppp.Protocol.IPCP, ppp.encode(ppp.Code.CONFIGURE_REQUEST, 1, address)),
        (ppp.Protocol.LCP, ppp.encode(ppp.Code.ECHO_REQUEST, 1, bytes(4))),
        (ppp.Protocol.LCP, ppp.encode(ppp.Code.TERMINATE_REQUEST, 2)),
    ]
    said = session.open(_NOW)
    while said or mine:
        requests = [out for out in said if isinstance(out, Send) and out.information[:1] == b"\1"]
        words = [(ppp.Protocol(out.protocol), b"\2" + out.information[1:]) for out in requests]
        said = []
        for protocol, word in words or [mine.pop(0)] if words or mine else []:
            yield bytes((len(word), _PROTOCOLS.index(protocol))) + word
            said += session.receive(protocol, word, _NOW)
            for asked in [out for out in said if isinstance(out, Authenticate)]:
                said += session.decide(asked.attempt, True, b"", _granted(), _NOW)


def _granted() -> tuple[IpcpServer, Ipv6cpServer]:
    addresses = IpcpServer(Timers(), own=IPv4Address("10.0.0.1"), peer=IPv4Address("10.0.0.2"))
    return addresses, Ipv6cpServer(Timers(), own=bytes(7) + b"\1", suggested=bytes(7) + b"\2")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frame": fuzz_frame,
    "message": fuzz_message,
    "relay": fuzz_relay,
    "options": fuzz_options,
    "radius": fuzz_radius,
    "values": fuzz_values,
    "access": fuzz_access,
    "pcapng": fuzz_pcapng,
    "nexus": fuzz_nexus,
    "events": fuzz_events,
    "discovery": fuzz_discovery,
    "pppoe-session": fuzz_pppoe_session,
    "lcp": fuzz_lcp,
    "auth": fuzz_auth,
    "ppp": fuzz_ppp,
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
        case "nexus":
            block = b'{"pool":"home","index":0,"first":"10.0.0.0","last":"10.0.0.255","fence":1}'
            return [
                b'\0{"epoch":7,"beat":1,"duration":86400000000000,"blocks":[' + block + b"]}",
                b'\1{"blocks":[' + block + b"]}",
                b'\2{"entries":[{"name":"alice","value":{"line":"1:100.7"}}],"revision":9,"after":"alice"}',
                b'\3{"type":"urn:wayleave:nexus:fenced","title":"fenced","status":409,"detail":"that epoch is over"}',
            ]
        case "events":
            changes = b'id: 7\nevent: changes\ndata: [{"name":"a","value":{}},\rdata: {"name":"b","value":null}]\n\n'
            return [changes + b"id: 8\r\nevent: alive\r\ndata: {}\r\n\r\n"]
        case "radius":
            return [bytes.fromhex(row["hex"]) for row in vectors.load("radius_packets")]
        case "discovery":
            return [bytes.fromhex(row["hex"]) for row in vectors.load("pppoe_packets")]
        case "lcp":
            return [bytes.fromhex(row["hex"]) for row in vectors.load("ppp_packets")]
        case "pppoe-session":
            return [
                pppoe.encode_session(7, ppp.Protocol[row["protocol"]], bytes.fromhex(row["hex"]))
                for row in vectors.load("ppp_packets")
            ]
        case "auth":
            response = ppp.encode(auth.ChapCode.RESPONSE, 0, auth.counted(bytes(16)) + b"alice")
            return [b"\0\5alice\2pw", b"\1" + response[4:], b"\2" + response]
        case "ppp":
            return [b"".join(_conversation())]
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
