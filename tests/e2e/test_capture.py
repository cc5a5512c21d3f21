"""`bng capture`: one client's packets on both sides of the gateway, as tshark reads them; nobody else's."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from wayleave.cli.client import ApiError, stream
from wayleave.dataplane import syscall
from wayleave.lab.access_node import Line
from wayleave.lab.customer import Customer
from wayleave.lab.namespace import CommandFailed
from wayleave.lab.process import Process
from wayleave.lab.topology import PINS, Lab
from wayleave.lab.waiting import wait_until

from .replug import replug_access, replug_core
from .watch import sessions

FIELDS = (
    "frame.interface_name", "frame.packet_flags_direction", "frame.comment", "vlan.id", "ip.src", "ip.dst", "ip.ttl",
    "_ws.col.Protocol", "dhcp.option.dhcp", "eth.src", "eth.dst", "ieee8021ad.id",
)  # fmt: skip
IN, OUT = "0x00000001", "0x00000002"


@dataclass(frozen=True)
class Frame:
    """A frame as tshark reads it. Of two tags tshark calls the outer one the provider's."""

    device: str
    direction: str
    comment: str
    vid: str
    source: str
    destination: str
    ttl: str
    protocol: str
    message: str
    sender: str
    receiver: str
    svid: str

    def __post_init__(self) -> None:
        assert self.direction in (IN, OUT)
        assert self.comment.startswith("came: " if self.direction == IN else "leaves: ")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2), Line(100, 3)]) as lab:
        lab.gateway.start(lab.config())
        yield lab


def read(path: Path) -> list[Frame]:
    """Everything that tshark finds in a file."""
    words = ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=|", "-E", "occurrence=l"]
    for name in FIELDS:
        words += ["-e", name]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    return [Frame(*line.split("|")) for line in done.stdout.splitlines()]


def running(lab: Lab) -> bool:
    return bool(lab.gateway.get("/capture")["running"])


def packets(lab: Lab) -> int:
    return int(lab.gateway.get("/capture")["packets"])


def capture(lab: Lab, which: object, path: Path, *words: str) -> Process:
    """Start it; returns once packets are captured."""
    process = lab.gateway.start_command(
        "capture", str(which), "-w", str(path), *words, "--config", str(lab.gateway.config_file)
    )

    def started() -> bool:
        assert process.alive, process.output()
        return running(lab)

    wait_until(started, "a capture")
    return process


def programs(lab: Lab) -> dict[str, int]:
    """The id of the program under each of the gateway's links."""
    found = {}
    for path in (PINS / lab.instance / "links").iterdir():
        link = syscall.get_pinned(str(path))
        info = ctypes.create_string_buffer(64)
        attr = syscall._attr("<IIQ", link, len(info), ctypes.addressof(info))
        syscall._call(syscall.Command.OBJ_GET_INFO, attr, "link")
        os.close(link)
        found[path.name] = struct.unpack_from("<8xI", info)[0]
    return found


def test_dhcp_and_ping_of_one_client_on_both_sides_and_then_as_before(lab: Lab, tmp_path: Path) -> None:
    customer, other, newcomer = lab.customers
    other.dhcp("udhcpc")
    assert other.ping(lab.server_address)
    before = programs(lab)
    path = tmp_path / "customer.pcapng"
    process = capture(lab, customer.mac, path)
    during = programs(lab)
    assert not set(during.values()) & set(before.values()), "the capture programs stand in"
    address = customer.dhcp("udhcpc").address
    assert customer.ping(lab.server_address, count=3)
    assert customer.ping(lab.pool_gateway, count=1)
    assert other.ping(lab.server_address, count=3)
    newcomer.dhcp("udhcpc")
    customer.forget()
    customer.dhcp("udhcpc")
    wait_until(lambda: not packets_grow(lab), "the end of the traffic")
    process.signal(signal.SIGINT)
    assert process.wait() == 0
    assert f"frames of {customer.mac}, 0 lost" in process.output()
    wait_until(lambda: not running(lab), "the end of the capture")
    assert programs(lab) == before
    assert path.stat().st_mode & 0o777 == 0o600
    frames = read(path)
    assert_both_sides(frames, address, lab)
    said = [(frame.message, frame.comment) for frame in frames if frame.message]
    assert said[:4] == [
        ("1", "came: punted in punt"),
        ("2", "leaves: Python's"),
        ("3", "came: punted in punt"),
        ("5", "leaves: Python's"),
    ]
    assert ("1", "came: answered in dhcp4") in said
    assert ("2", "leaves: answered in dhcp4") in said
    assert any(frame.protocol == "ARP" and frame.comment == "leaves: answered in arp" for frame in frames)
    others = {str(item) for who in (other, newcomer) for item in (who.mac, who.address)}
    assert not [frame for frame in frames if others & {frame.source, frame.destination, frame.sender, frame.receiver}]
    assert other.ping(lab.server_address)
    assert customer.ping(lab.server_address)


def packets_grow(lab: Lab) -> bool:
    first = packets(lab)
    return packets(lab) != first


def assert_both_sides(frames: list[Frame], address: IPv4Address, lab: Lab) -> None:
    """An echo request comes in behind two tags and leaves without, a hop older; its answer the other way round."""
    server = str(lab.server_address)
    asked = [frame for frame in frames if (frame.source, frame.destination) == (str(address), server)]
    answered = [frame for frame in frames if (frame.source, frame.destination) == (server, str(address))]
    came, left = ([f for f in asked if f.direction == side] for side in (IN, OUT))
    assert {(f.device, f.svid, f.vid, f.ttl) for f in came} == {("acc0", "100", "1", "64")}
    assert ("core0", "", "", "63") in {(f.device, f.svid, f.vid, f.ttl) for f in left}
    assert len(came) == len(left) == 3
    came, left = ([f for f in answered if f.direction == side] for side in (IN, OUT))
    assert {(f.device, f.svid, f.vid, f.ttl) for f in came} == {("core0", "", "", "63")}
    assert {(f.device, f.svid, f.vid, f.ttl) for f in left} == {("acc0", "100", "1", "62")}
    up = [f for f in frames if (f.source, f.destination) == (str(address), str(lab.pool_gateway)) and f.ttl]
    assert {(f.device, f.direction) for f in up if f.protocol == "ICMP"} == {("acc0", IN), ("wlx-default", OUT)}


def test_what_is_dropped_of_a_client_without_a_session(lab: Lab, tmp_path: Path) -> None:
    """By count, into standard output."""
    customer = lab.customers[0]
    process = capture(lab, customer.mac, tmp_path / "dropped.pcapng", "--count", "2")
    customer.namespace.ip("addr add 100.64.0.9/22 dev eth0")
    customer.namespace.ip("neigh add 100.64.0.1 lladdr 02:77:00:00:00:01 dev eth0")
    assert not customer.ping(lab.pool_gateway, count=3, timeout=0.1)
    assert process.wait() == 0
    frames = read(tmp_path / "dropped.pcapng")
    assert [(f.device, f.comment) for f in frames] == [("acc0", "came: dropped in admit: no-session")] * 2
    wait_until(lambda: not running(lab), "the end of the capture")


def test_a_program_that_reads_it_as_it_comes_and_goes(lab: Lab, tmp_path: Path) -> None:
    """`-w -` into a pipe whose reader leaves ends the capture, without a traceback."""
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    command = f"{sys.executable} -m wayleave.cli.bng capture {customer.mac} -w - --config {lab.gateway.config_file}"
    head = tmp_path / "head.pcapng"
    argv = lab.gateway.namespace.command("sh", "-c", f"{command} | head -c 400 > {head}")
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: running(lab), "a capture")

    def over() -> bool:
        customer.ping(lab.server_address)
        return process.poll() is not None

    wait_until(over, "the end of the capture")
    assert head.read_bytes()[:4] == bytes.fromhex("0a0d0d0a")
    assert process.stderr is not None
    with process.stderr as said:
        assert f"frames of {customer.mac}" in (text := said.read())
        assert "Traceback" not in text
    wait_until(lambda: not running(lab), "the end of the capture")


def test_a_port_that_is_not_there_and_two_things_for_one_output_are_refused(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    for words, why in (
        (("--port", "9", "-w", str(path)), "there is no port 9: there is 1, 100"),
        (("-w", "-", "--json"), "--json and the capture cannot both go to standard output"),
    ):
        with pytest.raises(CommandFailed, match=why):
            lab.gateway.bng("capture", "02:00:00:00:00:01", *words, "--config", str(lab.gateway.config_file))
        assert not path.exists()
        assert not running(lab)


def test_one_at_a_time_and_a_reader_that_dies_ends_it(lab: Lab, tmp_path: Path) -> None:
    before = programs(lab)
    first = capture(lab, lab.customers[0].mac, tmp_path / "first.pcapng")
    config = ("--config", str(lab.gateway.config_file))
    with pytest.raises(CommandFailed, match=f"{lab.customers[0].mac} is being captured: one at a time"):
        lab.gateway.bng("capture", str(lab.customers[1].mac), "-w", str(tmp_path / "second.pcapng"), *config)
    first.kill()
    wait_until(lambda: not running(lab), "the end of the capture")
    assert programs(lab) == before
    with pytest.raises(CommandFailed, match="port: "):
        lab.gateway.bng("capture", str(lab.customers[1].mac), "--port", "70000", *config)
    with pytest.raises(CommandFailed, match="--port goes with a MAC"):
        lab.gateway.bng("capture", "4000", "--port", "1", *config)
    lab.gateway.bng("capture", str(lab.customers[1].mac), "--seconds", "0.2", "-w", str(tmp_path / "x"), *config)
    assert read(tmp_path / "x") == []
    with pytest.raises(CommandFailed, match="there is no session with subscriber nobody"):
        lab.gateway.bng("capture", "nobody", *config)
    with pytest.raises(CommandFailed, match="there is no session 4000"):
        lab.gateway.bng("capture", "4000", *config)


def test_a_gateway_that_dies_while_it_captures_goes_on_forwarding_and_comes_back_as_it_was(
    lab: Lab, tmp_path: Path
) -> None:
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    process = capture(lab, customer.mac, tmp_path / "dead.pcapng")
    capturing = programs(lab)
    lab.gateway.kill9()
    assert process.wait() == 2
    assert programs(lab) == capturing
    assert customer.ping(lab.server_address, count=3)
    lab.gateway.restart()
    assert not set(programs(lab).values()) & set(capturing.values())
    assert customer.ping(lab.server_address, count=3)
    assert capture(lab, customer.mac, tmp_path / "again.pcapng", "--seconds", "0.2").wait() == 0
    assert read(tmp_path / "again.pcapng") == [], "what was captured before is not in it"


@pytest.mark.parametrize("replug", [replug_core, replug_access], ids=["core0", "acc0"])
def test_a_device_that_is_made_anew_while_it_is_captured_goes_on_being_captured_and_then_not(
    lab: Lab, tmp_path: Path, replug: Callable[[Lab], None]
) -> None:
    customer, path = lab.customers[0], tmp_path / "replugged.pcapng"
    customer.dhcp("udhcpc")
    before = programs(lab)
    process = capture(lab, customer.mac, path)
    capturing = programs(lab)
    assert customer.ping(lab.server_address)
    replug(lab)
    wait_until(lambda: programs(lab) == capturing, "the capture programs on every device", 5)
    wait_until(lambda: customer.ping(lab.server_address, count=1, timeout=0.2), "traffic", 5)
    count = packets(lab)
    assert customer.ping(lab.server_address, count=3)
    wait_until(lambda: packets(lab) >= count + 12, "four frames of each echo")
    process.signal(signal.SIGINT)
    assert process.wait() == 0
    wait_until(lambda: not running(lab), "the end of the capture")
    assert programs(lab) == before
    assert customer.ping(lab.server_address)
    answered = [(f.device, f.direction) for f in read(path) if f.source == str(lab.server_address)]
    assert answered[-2:] == [("core0", IN), ("acc0", OUT)]


@pytest.mark.parametrize("replug", [replug_core, replug_access], ids=["core0", "acc0"])
def test_a_capture_that_ends_while_a_device_is_gone(lab: Lab, tmp_path: Path, replug: Callable[..., None]) -> None:
    customer, path = lab.customers[0], tmp_path / "gone.pcapng"
    customer.dhcp("udhcpc")
    before = programs(lab)
    process = capture(lab, customer.mac, path)
    assert customer.ping(lab.server_address)

    def end() -> None:
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        wait_until(lambda: not running(lab), "the end of the capture")

    replug(lab, end)
    assert f"frames of {customer.mac}, 0 lost" in process.output()
    assert "program-not-exchanged" not in lab.gateway.log
    wait_until(lambda: programs(lab) == before, "the programs of before on every device", 5)
    wait_until(lambda: customer.ping(lab.server_address, count=1, timeout=0.2), "traffic", 5)
    assert len([f for f in read(path) if f.source == str(lab.server_address)]) == 6


def test_stopping_the_gateway_ends_the_file(lab: Lab, tmp_path: Path) -> None:
    process = capture(lab, lab.customers[0].mac, tmp_path / "stopped.pcapng")
    assert lab.gateway.stop() == 0
    assert process.wait() == 0
    assert read(tmp_path / "stopped.pcapng") == []


def test_by_mac_a_client_is_seen_on_a_wrong_vlan_and_by_its_session_only_at_home(lab: Lab, tmp_path: Path) -> None:
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    home, (session,) = customer.line, sessions(lab.gateway, mac=customer.mac)
    for which in (customer.mac, session["id"]):
        path = tmp_path / f"{which}.pcapng"
        process = capture(lab, which, path)
        customer.move(Line(100, 4))
        assert not customer.ping(lab.server_address, count=2, timeout=0.1)
        elsewhere = packets(lab)
        customer.move(home)
        assert customer.ping(lab.server_address, count=3)
        wait_until(lambda before=elsewhere: packets(lab) >= before + 12, "the traffic at home")
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        wait_until(lambda: not running(lab), "the end of the capture")
        frames = read(path)
        assert {"1"} < {frame.vid for frame in frames}
        wrong = {frame.comment.rpartition(": ")[2] for frame in frames if frame.vid == "4"}
        assert wrong == ({"no-session"} if which == customer.mac else set())


def fill(lab: Lab, customer: Customer) -> None:
    """Send until nothing more finds room: the reader stands still."""

    def full() -> bool:
        assert customer.ping(lab.server_address, count=50, size=1400, interval=0.002)
        return bool(lab.gateway.get("/capture")["lost"])

    wait_until(full, "reader that stands still", timeout=30.0)


def test_a_reader_that_does_not_read_keeps_the_gateway_neither_busy_nor_from_stopping(lab: Lab) -> None:
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    with stream(str(lab.gateway.api), "POST", "/capture", mac=str(customer.mac)) as pieces:
        fill(lab, customer)
        before = cpu_time(lab)
        assert customer.ping(lab.server_address, count=20, interval=0.05)
        assert cpu_time(lab) - before < 0.5, "of some second"
        with (
            pytest.raises(ApiError, match="one at a time"),
            stream(str(lab.gateway.api), "POST", "/capture", mac=str(customer.mac)),
        ):
            pass
        assert lab.gateway.stop() == 0
        assert next(pieces)[:4] == bytes.fromhex("0a0d0d0a")


def cpu_time(lab: Lab) -> float:
    """Seconds of CPU time that the gateway has had. Source: proc(5), utime and stime."""
    assert lab.gateway.process is not None
    words = Path(f"/proc/{lab.gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_seconds_hold_for_a_reader_that_does_not_read_and_its_end_is_not_the_nexts(lab: Lab, tmp_path: Path) -> None:
    customer, other = lab.customers[:2]
    customer.dhcp("udhcpc")
    other.dhcp("udhcpc")
    before = programs(lab)
    with stream(str(lab.gateway.api), "POST", "/capture", mac=str(customer.mac), seconds=4) as pieces:
        fill(lab, customer)
        wait_until(lambda: not running(lab), "the end of the first")
        assert programs(lab) == before
        second = capture(lab, other.mac, tmp_path / "second.pcapng")
        first = tmp_path / "first.pcapng"
        first.write_bytes(b"".join(pieces))
    assert read(first)
    assert lost_of(first) > 0
    assert running(lab), "the second goes on"
    assert other.ping(lab.server_address, count=3)
    wait_until(lambda: packets(lab) >= 12, "frames of the second")
    second.signal(signal.SIGINT)
    assert second.wait() == 0
    devices = {(frame.device, frame.direction) for frame in read(tmp_path / "second.pcapng")}
    assert devices == {("acc0", IN), ("acc0", OUT), ("core0", IN), ("core0", OUT)}
    wait_until(lambda: not running(lab), "the end of the second")
    assert programs(lab) == before


def lost_of(path: Path) -> int:
    """What a file says at its end. Source: draft-ietf-opsawg-pcapng 4.6: the option, an end of options, the length."""
    (lost,) = struct.unpack("<Q", path.read_bytes()[-16:-8])
    return int(lost)
