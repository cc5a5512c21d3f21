"""Nexus in the lab: `nexus serve` on a host of its own beside the core router, with an authority of `nexus certs`.

with Lab([Line(100, 1)], others=[[Line(100, 1)]]) as lab, nexus_in(lab) as nexus:
    nexus.ask("PUT", "/v1/pools/home", {...})
    for site in lab.sites:
        site.gateway.start(site.config(pool={"nexus": "home"}, more=nexus.section(site)))
    lab.route_blocks()
"""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from wayleave.lab.host import Host
from wayleave.lab.namespace import Namespace, create_all, delete_all
from wayleave.lab.process import Process
from wayleave.lab.site import Site, section
from wayleave.lab.switch import Machine
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until
from wayleave.nexus import certificates

PORT, LOCAL = 7443, "127.0.0.1:7444"
SQLITE = 'store = "sqlite:nexus.sqlite"'
_DAYS = 30
SERVE = (sys.executable, "-m", "wayleave.cli.nexus")
"""What is run to serve: a test may put something else there."""
_WITHIN_S = 20.0
_serial = itertools.count()


class Answer(NamedTuple):
    """What Nexus said."""

    status: int
    headers: Mapping[str, str]
    body: Any


class NexusFailed(Exception):
    """Nexus did not start, or refuses what a test needs; the text says why."""


class NexusHost(Host):
    """The host, and the process on it. Its state is in its folder, and outlives the process."""

    def __init__(
        self, namespace: Namespace, folder: Path, address: IPv4Interface, more: str, authority: Path | None = None
    ) -> None:
        """`authority`: the folder of a CA that it shares with others; None: it has its own."""
        super().__init__(namespace, "eth0", folder)
        self.interface = address
        self.url = f"https://{address.ip}:{PORT}"
        self.process: Process | None = None
        self.authority = authority or folder / "ca"
        if authority is None:
            certificates.init(self.authority, "the lab's CA", _DAYS)
        own = folder.name
        self._issue("server", own, str(address.ip))
        names = {"certificate": f"{own}.pem", "key": f"{own}.key", "ca": "ca.pem"}
        shown = {key: self.authority / name for key, name in names.items()}
        head = section("[nexus]", {"listen": f"{address.ip}:{PORT}", "local": LOCAL, **shown})
        self.config_file = folder / "nexus.toml"
        self.config_file.write_text(f"{head}{more}\n")

    # ---- the process --------------------------------------------------------------------

    def start(self) -> None:
        """Start it, with what it kept; returns when it answers. Raises: NexusFailed with its log."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it, and return at once."""
        self.process = self.spawn(*SERVE, "serve", "--config", str(self.config_file), log="nexus")

    def wait_ready(self) -> None:
        """Wait until it answers. Raises: NexusFailed with its log."""
        process = self.process
        assert process is not None

        def answers() -> bool:
            if not process.alive:
                raise NexusFailed(f"nexus ended with status {process.status}:\n{self.log[-4000:]}")
            return self.ready()

        try:
            wait_until(answers, "Nexus that is ready", _WITHIN_S)
        except TimeoutError as error:
            raise NexusFailed(f"{error}; its log ends:\n{self.log[-4000:]}") from error

    def kill9(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()

    def freeze(self) -> None:
        """Have it say nothing more, and keep its connections."""
        if self.process is not None:
            self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        if self.process is not None:
            self.process.signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        """What the present process wrote."""
        return self.process.output() if self.process is not None else ""

    @property
    def alive(self) -> bool:
        """Its process runs."""
        return self.process is not None and self.process.alive

    def ready(self) -> bool:
        """Whether it says that its store answers."""

        def ask() -> bool:
            with suppress(OSError), urlopen(f"http://{LOCAL}/readyz", timeout=5) as answer:
                return bool(answer.status == http.HTTPStatus.OK)
            return False

        return self.namespace.call(ask)

    # ---- who asks it --------------------------------------------------------------------

    def section(self, site: Site, *servers: str) -> str:
        """Return what a gateway's configuration says of it, with a certificate of the gateway's. `servers`: instead."""
        certificate = self.certificate("node", site.instance)
        files = {"certificate": certificate, "key": certificate.with_suffix(".key"), "ca": self.authority / "ca.pem"}
        return section("[nexus]", {"servers": servers or (self.url,), **files})

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        role: str = "operator",
        name: str = "operator",
    ) -> Answer:
        """Ask it from its own host, as who has a certificate of a role. Raises: OSError if it does not answer."""
        certificate = self.certificate(role, name)
        context = ssl.create_default_context(cafile=self.authority / "ca.pem")
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))

        def exchange() -> Answer:
            connection = http.client.HTTPSConnection(str(self.interface.ip), PORT, timeout=5, context=context)
            try:
                text = None if body is None else json.dumps(body)
                connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
                answer = connection.getresponse()
                said = answer.read()
                return Answer(answer.status, dict(answer.headers), json.loads(said) if said else None)
            finally:
                connection.close()

        return self.namespace.call(exchange)

    def make(self, path: str, body: Mapping[str, object]) -> None:
        """Make a record that is not there yet. Raises: NexusFailed with why not."""
        answer = self.ask("PUT", path, body, {"If-None-Match": "*"})
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise NexusFailed(f"PUT {path}: {answer.status} {answer.body}")

    def certificate(self, role: str, name: str) -> Path:
        """Return one that its authority has issued; the key is beside it."""
        path = self.authority / f"{name}.pem"
        if not path.exists():
            self._issue(role, name)
        return path

    def _issue(self, role: str, name: str, *addresses: str) -> None:
        certificates.issue(self.authority, role, name, addresses, _DAYS)

    # ---- the way to it ------------------------------------------------------------------

    def cut_off(self, site: Site) -> None:
        """Have nothing that it says reach a gateway; the traffic of subscribers goes on."""
        self.namespace.ip(f"route replace blackhole {site.core.ip}/32")

    def mend(self, site: Site) -> None:
        """End that."""
        self.namespace.ip(f"route del blackhole {site.core.ip}/32")


@contextmanager
def nexus_in(lab: Lab, more: str = SQLITE) -> Iterator[NexusHost]:
    """Yield a Nexus that runs, with no pools. `more`: the rest of its configuration, in [nexus]."""
    with machine_in(lab) as machine, host_on(lab, machine, more) as host:
        host.start()
        yield host


@contextmanager
def machine_in(lab: Lab) -> Iterator[Machine]:
    """Yield a machine that is to be beside the core: it has no cable yet."""
    number = next(_serial)
    interface = IPv4Interface(f"203.0.113.{16 * (number % 16) + 2}/28")
    machine = Machine(f"{lab.name}-nexus{number}", f"nx{number}", interface)
    create_all([machine])
    try:
        yield machine
    finally:
        delete_all([machine])


@contextmanager
def host_on(lab: Lab, machine: Machine, more: str, authority: Path | None = None) -> Iterator[NexusHost]:
    """Yield a host beside the core, on which Nexus does not run yet."""
    folder = lab.folder / machine.port
    folder.mkdir()
    host = NexusHost(machine, folder, machine.interface, more, authority)
    try:
        lab.beside_core(host, machine.port, machine.interface)
        yield host
    finally:
        host.close()
