"""A machine of the lab: a namespace with a device, and what is run on it."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any

from wayleave.lab.capture import Capture, packet_socket
from wayleave.lab.namespace import CommandFailed, Namespace, run
from wayleave.lab.process import Process
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac


@dataclass(frozen=True, slots=True)
class Ping:
    """What ping(8) said. `lost` are the sequence numbers up to `sent` that got no echo reply."""

    sent: int
    received: int
    duplicates: int
    lost: tuple[int, ...]
    errors: tuple[tuple[str, str], ...]
    """Who sent an ICMP error, and ping's words for it, as in ("100.64.0.1", "Time to live exceeded")."""
    text: str

    def __bool__(self) -> bool:
        return self.sent > 0 and self.received == self.sent

    @property
    def missing(self) -> list[int]:
        """What of `lost` is lost for good: when ping was stopped, the last reply may have been under way."""
        return [number for number in self.lost if number != self.sent]


_REPLY = re.compile(r"^\d+ bytes from .*icmp_seq=(\d+) .*time=", re.MULTILINE)
_ERROR = re.compile(r"^From (\S+) icmp_seq=\d+ (.+)$", re.MULTILINE)
_SUMMARY = re.compile(r"^(\d+) packets transmitted, (\d+) received(?:, \+(\d+) duplicates)?", re.MULTILINE)


def parse_ping(text: str) -> Ping:
    """Read the output of iputils' ping, run with -n."""
    summary = _SUMMARY.search(text)
    sent, received, duplicates = (int(part or 0) for part in summary.groups()) if summary else (0, 0, 0)
    seen = {int(number) for number in _REPLY.findall(text)}
    lost = tuple(number for number in range(1, sent + 1) if number not in seen)
    errors = tuple((source, words.strip()) for source, words in _ERROR.findall(text))
    return Ping(sent, received, duplicates, lost, errors, text)


class Pinging:
    """A ping in the background. `stop` ends it and tells."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __enter__(self) -> Pinging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()

    @property
    def received(self) -> int:
        """Echo replies so far."""
        return len(_REPLY.findall(self._process.output()))

    def wait_for(self, count: int, timeout: float = 10.0) -> None:
        """Wait for `count` more replies. Raises: TimeoutError with what ping wrote."""
        target = self.received + count
        wait_until(
            lambda: self.received >= target,
            lambda: f"{count} more echo replies; ping wrote:\n{self._process.output()[-1000:]}",
            timeout,
        )

    def stop(self) -> Ping:
        """End it as Ctrl-C does; a reply that is still on its way at that moment counts as lost."""
        self._process.signal(signal.SIGINT)
        self._process.wait()
        return parse_ping(self._process.output())


@dataclass(frozen=True, slots=True)
class Throughput:
    """What iperf3 said, seen by the receiver."""

    bits_per_second: float
    lost_packets: int
    retransmits: int
    report: dict[str, Any]


class Host:
    """A namespace with one device to the world and the processes run in it."""

    def __init__(self, namespace: Namespace, device: str, folder: Path) -> None:
        self.namespace, self.device, self.folder = namespace, device, folder
        self._processes: list[Process] = []
        self._sockets: list[socket.socket] = []
        self._senders: dict[str, socket.socket] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.namespace.name})"

    @property
    def mac(self) -> Mac:
        """Of the device, as it is now."""
        return Mac.parse(str(self._link("link")["address"]))

    @property
    def address(self) -> IPv4Address | None:
        """The device's first IPv4 address, as it is now."""
        for entry in self._link("address").get("addr_info", ()):
            if entry["family"] == "inet":
                return IPv4Address(entry["local"])
        return None

    def _link(self, kind: str) -> dict[str, Any]:
        words = ["ip", "-n", self.namespace.name, "-json", kind, "show", "dev", self.device]
        found: list[dict[str, Any]] = json.loads(run(words))
        return found[0]

    def run(self, *argv: str, check: bool = True, timeout: float = 60.0) -> str:
        """Run a command to its end; returns its standard output. Raises: CommandFailed."""
        return self.namespace.run(*argv, check=check, timeout=timeout)

    def spawn(self, *argv: str, log: str | None = None, inherit: Sequence[int] = ()) -> Process:
        """Start a command that ends with the lab. `inherit` are descriptors that it gets under their own numbers."""
        path = self.folder / f"{self.namespace.name}-{len(self._processes)}-{log or Path(argv[0]).name}.log"
        process = Process(self.namespace.command(*argv), path, inherit=inherit)
        self._processes.append(process)
        return process

    def socket(self, kind: int = socket.SOCK_DGRAM, port: int = 0) -> socket.socket:
        """Open an IPv4 socket here, bound to `port`, with a timeout of 5 s; the lab closes it."""

        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET, kind)
            sock.settimeout(5.0)
            sock.bind(("", port))
            return sock

        made = self.namespace.call(make)
        self._sockets.append(made)
        return made

    def capture(self, device: str | None = None) -> Capture:
        """Capture at a device, the host's own by default; close it, or use `with`."""
        return Capture(self.namespace, device or self.device)

    def send_raw(self, frame: bytes, device: str | None = None) -> None:
        """Send a frame as it stands, whatever it claims to be, out of the host's device or another."""
        out = device or self.device
        if out not in self._senders:
            self._senders[out] = self.namespace.call(lambda: packet_socket(out, receive=False))
        self._senders[out].send(frame)

    def ping(
        self,
        address: IPv4Address | str,
        count: int = 3,
        size: int = 56,
        df: bool = False,
        ttl: int | None = None,
        interval: float = 0.05,
        timeout: float = 2.0,
    ) -> Ping:
        """Ping to the end. `size` is the ICMP payload: 1472 makes an IP packet of 1,500 octets."""
        return parse_ping(
            self.run(
                *ping_words(size, df, ttl, interval),
                *("-c", str(count), "-W", str(timeout), str(address)),
                check=False,
                timeout=count * (interval + timeout) + 10,
            )
        )

    def pinging(self, address: IPv4Address | str, size: int = 56, interval: float = 0.02) -> Pinging:
        """Start a ping that goes on until it is stopped."""
        words = ping_words(size, False, None, interval)
        return Pinging(self.spawn("stdbuf", "-oL", *words, str(address), log="ping"))

    def arping(self, address: IPv4Address | str, count: int = 1, timeout: int = 2, dad: bool = False) -> list[Mac]:
        """Ask with ARP (a duplicate-address probe if `dad`); returns who answered within whole seconds."""
        options = ("-D",) if dad else ()
        text = self.run(
            *("arping", *options, "-c", str(count), "-w", str(timeout), "-I", self.device, str(address)), check=False
        )
        return [Mac.parse(mac) for mac in re.findall(r"\[([0-9A-Fa-f:]{17})\]", text)]

    def hops(self, address: IPv4Address | str, most: int = 8, timeout: float = 1.0) -> list[str]:
        """Trace the route with pings of growing TTL; a hop that says nothing is "*"."""
        found: list[str] = []
        for ttl in range(1, most + 1):
            result = self.ping(address, count=1, ttl=ttl, timeout=timeout)
            if result:
                return [*found, str(address)]
            found.append(result.errors[0][0] if result.errors else "*")
        return found

    def iperf3(self, address: IPv4Address | str, *options: str, seconds: int = 2) -> Throughput:
        """Run iperf3 against a server; options as in `"-R"`, `"-u", "-b", "50M"`. Raises: CommandFailed."""
        words = ["iperf3", "-c", str(address), "-J", "-t", str(seconds), "--connect-timeout", "3000", *options]
        report: dict[str, Any] = json.loads(self.run(*words, check=False, timeout=seconds + 30))
        if "error" in report:
            raise CommandFailed(f"{' '.join(words)}: {report['error']}")
        end = report["end"]
        received = end.get("sum_received") or end["sum"]
        return Throughput(
            float(received["bits_per_second"]),
            int(end.get("sum", {}).get("lost_packets", 0)),
            int(end.get("sum_sent", {}).get("retransmits", 0)),
            report,
        )

    def close(self) -> None:
        """End the processes and close the sockets."""
        for process in self._processes:
            process.kill()
        for sock in (*self._sockets, *self._senders.values()):
            sock.close()


def ping_words(size: int, df: bool, ttl: int | None, interval: float) -> list[str]:
    """Return the command line of a ping whose output `parse_ping` reads, but for its end and whom it pings."""
    words = ["ping", "-4", "-n", "-i", str(interval), "-s", str(size), "-M", "do" if df else "dont"]
    return [*words, *(("-t", str(ttl)) if ttl is not None else ())]


class Server(Host):
    """A host on the internet side."""

    def iperf3_server(self) -> Process:
        """Start `iperf3 -s`; returns when it listens."""
        process = self.spawn("iperf3", "-s", "--forceflush", log="iperf3")
        wait_until(lambda: "listening" in process.output(), "iperf3 server that listens")
        return process

    def http_server(self, folder: Path, port: int = 80) -> Process:
        """Serve `folder` over HTTP; returns when it listens."""
        process = self.spawn(*("python3", "-u", "-m", "http.server", str(port), "--directory", str(folder)), log="http")
        wait_until(lambda: "Serving HTTP" in process.output(), "HTTP server that listens")
        return process
