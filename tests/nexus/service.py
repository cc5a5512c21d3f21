"""A Nexus that is really run, on loopback with TLS of its own authority, and clients that ask it."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from wayleave.io.tls import client_context
from wayleave.lab.etcd import free_ports
from wayleave.lab.process import Process
from wayleave.lab.waiting import wait_until
from wayleave.nexus import certificates

HERE = "127.0.0.1"
WITHIN_S = 20.0
CONFIGURATION = """
[nexus]
listen = "{here}:{listen}"
local = "{here}:{local}"
certificate = "ca/nexus.pem"
key = "ca/nexus.key"
ca = "ca/ca.pem"
{more}
"""


class Answer(NamedTuple):
    """What was said."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def problem(self) -> str:
        """Which problem it is; empty: none."""
        return str(self.body["type"]).rpartition(":")[2] if self.status >= 400 else ""


class Nexus:
    """A process `nexus serve`, its authority, and its clients."""

    def __init__(self, folder: Path, more: str = 'store = "sqlite:state.sqlite"') -> None:
        self.folder, self.authority = folder, folder / "ca"
        certificates.init(self.authority, "Lab CA", 2)
        certificates.issue(self.authority, certificates.SERVER, "nexus", (HERE, "localhost"), 1)
        self.port, self.local = free_ports(2)
        self.file = folder / "nexus.toml"
        self.file.write_text(CONFIGURATION.format(here=HERE, listen=self.port, local=self.local, more=more))
        self.process: Process

    def start(self) -> None:
        """Start it, and wait until it answers. Raises: TimeoutError with its log."""
        self.spawn()
        wait_until(self.ready, lambda: f"Nexus that answers:\n{self.process.output()[-3000:]}", WITHIN_S)

    def spawn(self) -> None:
        """Start it; returns at once."""
        argv = [str(Path(certificates.__file__).parents[3] / ".venv/bin/nexus"), "serve", "--config", str(self.file)]
        self.process = Process(argv, self.folder / "log")

    def ready(self) -> bool:
        """Does it say so?"""
        try:
            with urlopen(f"http://{HERE}:{self.local}/readyz", timeout=2) as answer:
                return bool(answer.status == http.HTTPStatus.OK)
        except OSError:
            return False

    def metrics(self) -> str:
        """Return what Prometheus is told."""
        with urlopen(f"http://{HERE}:{self.local}/metrics", timeout=WITHIN_S) as answer:
            return str(answer.read().decode())

    def client(self, role: str, name: str) -> Client:
        """Return somebody who has a certificate of its authority."""
        path = self.authority / f"{name}.pem"
        if not path.exists():
            certificates.issue(self.authority, role, name, (), 1)
        return Client(self.port, self.context(path))

    def context(self, certificate: Path, ca: Path | None = None) -> ssl.SSLContext:
        """Return what shows a certificate and believes the authority."""
        return client_context(certificate, certificate.with_suffix(".key"), ca or self.authority / "ca.pem", "test")


class Client:
    """Asks one question a connection."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port, self.context = port, context

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Return what Nexus answers. Raises: OSError, http.client.HTTPException if it is not let on."""
        connection = http.client.HTTPSConnection(HERE, self.port, timeout=WITHIN_S, context=self.context)
        try:
            text = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            kind = {"Content-Type": "application/json"} if text is not None else {}
            connection.request(method, path, text, {**kind, **(headers or {})})
            answer = connection.getresponse()
            said = answer.read()
            return Answer(answer.status, dict(answer.headers), json.loads(said) if said else None)
        finally:
            connection.close()


class Events:
    """A stream of changes, as it is read."""

    def __init__(self, client: Client, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Begin to listen. Raises: AssertionError with the problem that was answered instead."""
        self._connection = http.client.HTTPSConnection(HERE, client.port, timeout=WITHIN_S, context=client.context)
        self._connection.request("GET", path, headers=dict(headers or {}))
        self._answer = self._connection.getresponse()
        assert self._answer.status == http.HTTPStatus.OK, self._answer.read()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._connection.close()

    def next(self) -> tuple[int, str, Any]:
        """Return the next event: its id, its kind and its data. Raises: EOFError at the end; TimeoutError."""
        said: dict[str, str] = {}
        for line in iter(self._answer.readline, b""):
            if line == b"\n":
                return int(said["id"]), said["event"], json.loads(said["data"])
            key, _, value = line.decode().rstrip("\n").partition(": ")
            said[key] = value
        raise EOFError

    def rest(self) -> list[Any]:
        """Return what changes until the stream ends."""
        changes: list[Any] = []
        with suppress(EOFError):
            while True:
                changes.append(self.change())
        return changes

    def change(self) -> tuple[int, Any]:
        """Return what changes next; that nothing does is passed over."""
        while True:
            revision, kind, data = self.next()
            if kind == "changes":
                return revision, data


@contextmanager
def running(folder: Path, more: str = 'store = "sqlite:state.sqlite"') -> Iterator[Nexus]:
    """Yield a Nexus that runs while the block lasts."""
    nexus = Nexus(folder, more)
    try:
        nexus.start()
        yield nexus
    finally:
        nexus.process.stop()
