"""RADIUS over TLS in the lab: certificates that `openssl` makes, and radsecproxy in front of a FreeRADIUS."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from tempfile import mkdtemp

from wayleave.lab.host import Host
from wayleave.lab.namespace import run
from wayleave.lab.radius import RadiusServer
from wayleave.lab.waiting import wait_until
from wayleave.proto.radius.packet import RADSEC_PORT

CONFIGURATION = """
ListenTLS *:2083
LogLevel 2
tls default {{
	CACertificateFile {ca}
	CertificateFile {certificate}
	CertificateKeyFile {key}
}}
client gateway {{
	host {client}
	type tls
	certificateNameCheck off
}}
server auth {{
	host 127.0.0.1
	type udp
	port {auth}
	secret "{secret}"
}}
server acct {{
	host 127.0.0.1
	type udp
	port {acct}
	secret "{secret}"
}}
realm * {{
	server auth
	accountingServer acct
}}
"""
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path, name: str = "Lab CA") -> None:
        self.folder = Path(mkdtemp(prefix="ca-", dir=folder))
        self.certificate, self._key = self.folder / "ca.pem", self.folder / "ca.key"
        self._openssl(
            "req -x509 -nodes -days 30",
            *_NEW_KEY,
            "-subj",
            f"/CN={name}",
            "-keyout",
            self._key,
            "-out",
            self.certificate,
        )

    def issue(self, name: str, alternative: str = "", days: int = 7) -> tuple[Path, Path]:
        """Return a new certificate and its key; `alternative` as in "IP:192.0.2.2". With `days=-1` it has expired."""
        certificate, key, asked = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        names = ("-addext", f"subjectAltName={alternative}") if alternative else ()
        self._openssl("req -new -nodes", *_NEW_KEY, *names, "-subj", f"/CN={name}", "-keyout", key, "-out", asked)
        by = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
        self._openssl(f"x509 -req -days {days} -copy_extensions copy", *by, "-in", asked, "-out", certificate)
        key.chmod(0o600)
        return certificate, key

    def _openssl(self, command: str, *options: str | Path) -> None:
        run(["openssl", *command.split(), *map(str, options)])


def forwarding(server: RadiusServer, certificate: tuple[Path, Path], ca: Path, client: IPv4Address) -> str:
    """Return a configuration of radsecproxy on the server's host, with `certificate`; `client` has one by `ca`."""
    return CONFIGURATION.format(
        ca=ca,
        certificate=certificate[0],
        key=certificate[1],
        client=client,
        auth=server.auth,
        acct=server.acct,
        secret=server.secret,
    )


class Proxy:
    """radsecproxy, with a configuration that has it listen at port 2083."""

    def __init__(self, host: Host, configuration: str) -> None:
        self._host = host
        self._file = Path(mkdtemp(prefix="radsecproxy-", dir=host.folder)) / "radsecproxy.conf"
        self._file.write_text(configuration)
        self.start()

    def start(self) -> None:
        """Raises: TimeoutError with its log, if it does not listen."""
        self.process = self._host.spawn("radsecproxy", "-f", "-c", str(self._file), log="radsecproxy")
        wait_until(self._listens, lambda: f"radsecproxy that listens:\n{self.process.output()[-3000:]}", 10)

    def _listens(self) -> bool:
        return bool(self._host.run("ss", "-Hltn", f"sport = :{RADSEC_PORT}"))

    def stop(self) -> None:
        """SIGKILL: what closes its connections is the kernel."""
        self.process.kill()
