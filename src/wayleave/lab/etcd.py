"""A cluster of real etcds, on loopback or each on a machine: who they and their clients are, certificates say."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from urllib.request import urlopen

from wayleave.lab.process import Process
from wayleave.lab.radsec import Authority
from wayleave.lab.site import section
from wayleave.lab.switch import Machine
from wayleave.lab.waiting import wait_until
from wayleave.nexus.store.etcd import Tls

HERE = "127.0.0.1"
_HEARTBEAT_MS, _ELECTION_MS = 50, 500
_READY_S = 20.0


class EtcdNode:
    """One member. What it has written is kept while it is dead."""

    def __init__(
        self, folder: Path, name: str, authority: Authority, ports: Sequence[int], machine: Machine | None
    ) -> None:
        self.name, self.machine = name, machine
        self._at = machine.address if machine else HERE
        self._folder = folder
        self._client, self._peer, self._metrics = ports
        self._authority = authority
        self._certificate, self._key = authority.issue(name, f"IP:{self._at}")
        self._process: Process | None = None

    @property
    def endpoint(self) -> str:
        """Where clients ask."""
        return f"{self._at}:{self._client}"

    @property
    def peer(self) -> str:
        """Where the others ask, and under what name."""
        return f"{self.name}=https://{self._at}:{self._peer}"

    def start(self, cluster: str) -> None:
        """Start it as one of `cluster`; returns at once."""
        arguments = {
            "name": self.name,
            "data-dir": self._folder / self.name,
            "initial-cluster": cluster,
            "initial-advertise-peer-urls": f"https://{self._at}:{self._peer}",
            "listen-peer-urls": f"https://{self._at}:{self._peer}",
            "advertise-client-urls": f"https://{self._at}:{self._client}",
            "listen-client-urls": f"https://{self._at}:{self._client}",
            "listen-metrics-urls": f"http://{HERE}:{self._metrics}",
            "heartbeat-interval": _HEARTBEAT_MS,
            "election-timeout": _ELECTION_MS,
        }
        for side in ("", "peer-"):
            arguments |= {
                f"{side}client-cert-auth": "true",
                f"{side}trusted-ca-file": self._authority.certificate,
                f"{side}cert-file": self._certificate,
                f"{side}key-file": self._key,
            }
        argv = ["etcd", *(f"--{name}={value}" for name, value in arguments.items())]
        self._process = Process(
            self.machine.command(*argv) if self.machine else argv, self._folder / f"{self.name}.log"
        )

    def kill9(self) -> None:
        """SIGKILL."""
        if self._process:
            self._process.kill()

    def freeze(self) -> None:
        """Stop its clock: connections stay, nothing is answered."""
        assert self._process
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        self._process.signal(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        """Its process runs."""
        return self._process is not None and self._process.alive

    def leads(self) -> bool:
        """Does it say that it is the leader? False, too, if it says nothing."""
        return "etcd_server_is_leader 1" in self._asked("metrics")

    def healthy(self) -> bool:
        """Can it write?"""
        return re.search(r'"health": *"true"', self._asked("health")) is not None

    def output(self) -> str:
        """The end of its log."""
        return self._process.output()[-2000:] if self._process else ""

    def _asked(self, path: str) -> str:
        def ask() -> str:
            try:
                with urlopen(f"http://{HERE}:{self._metrics}/{path}", timeout=1) as answer:
                    return str(answer.read().decode())
            except OSError:
                return ""

        return self.machine.call(ask) if self.machine else ask()


class EtcdCluster:
    """Members that know each other; the cluster stands when the block begins, and is gone with it."""

    def __init__(self, folder: Path, machines: Sequence[Machine | None] = (None, None, None)) -> None:
        """`machines`: where the members run; None: here."""
        folder = Path(mkdtemp(prefix="etcd-", dir=folder))
        authority = Authority(folder, "etcd's CA")
        ports = free_ports(3 * len(machines))
        self.nodes = [
            EtcdNode(folder, f"n{i}", authority, ports[3 * i : 3 * i + 3], machine)
            for i, machine in enumerate(machines)
        ]
        self.endpoints = [node.endpoint for node in self.nodes]
        certificate, key = authority.issue("nexus")
        self.pem = {"certificate": certificate, "key": key, "ca": authority.certificate}
        """What its clients show and believe."""
        self.tls = Tls(*(self.pem[name].read_bytes() for name in ("ca", "certificate", "key")))

    @property
    def section(self) -> str:
        """What the configuration of a Nexus says of it."""
        return section("[nexus.etcd]", {"endpoints": self.endpoints, **self.pem})

    def __enter__(self) -> EtcdCluster:
        with ExitStack() as started:
            started.callback(self._end)
            for node in self.nodes:
                self.start(node)
            self.wait()
            started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start(self, node: EtcdNode) -> None:
        """Start a member, or start it again; returns at once."""
        node.start(",".join(each.peer for each in self.nodes))

    def wait(self) -> None:
        """Until every member can write. Raises: TimeoutError with their logs."""
        wait_until(
            lambda: all(node.healthy() for node in self.nodes),
            lambda: "healthy etcd:\n" + "\n".join(node.output() for node in self.nodes),
            _READY_S,
        )

    def leader(self, among: Sequence[EtcdNode] = ()) -> EtcdNode:
        """Wait for a leader, among some members if they are given. Raises: TimeoutError."""

        def find() -> EtcdNode | None:
            return next((node for node in among or self.nodes if node.leads()), None)

        found = wait_until(find, "leader", _READY_S)
        assert found
        return found

    def _end(self) -> None:
        for node in self.nodes:
            node.kill9()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody had a moment ago."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HERE, 0))
        return [each.getsockname()[1] for each in sockets]
