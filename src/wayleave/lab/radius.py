"""FreeRADIUS on a host of the lab, started for real, with users that a test writes; and radclient.

Debian's does not send a Message-Authenticator in replies by itself: it is told to, so that the strict default is what
is tested. What it is accounted for it writes to a file, record by record.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Mapping
from importlib import resources
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import mkdtemp

from wayleave.lab.host import Host
from wayleave.lab.topology import section
from wayleave.lab.waiting import wait_until

SECRET = "lab secret"
CONFIGURATION = """
prefix = /usr
name = {name}
raddbdir = {folder}
run_dir = {folder}
logdir = {folder}
libdir = /usr/lib/freeradius
pidfile = {folder}/pid
max_request_time = 10
cleanup_delay = {cleanup}
max_requests = 65536
hostname_lookups = no
log {{
	destination = stdout
}}
security {{
	max_attributes = 200
	reject_delay = 0
	status_server = yes
}}
thread pool {{
	start_servers = 4
	max_servers = 4
	min_spare_servers = 1
	max_spare_servers = 4
}}
modules {{
	files {{
		filename = {folder}/users
	}}
	pap {{
	}}
	chap {{
	}}
	mschap {{
		use_mppe = no
	}}
	always ok {{
		rcode = ok
	}}
	detail {{
		filename = {folder}/detail
		header = "%l"
		permissions = 0600
	}}
	detail seen {{
		filename = {folder}/seen
		header = "%l"
		permissions = 0600
		suppress {{
			User-Password
		}}
	}}
}}
client lab {{
	ipaddr = 0.0.0.0/0
	secret = "{secret}"
	require_message_authenticator = yes
}}
server default {{
	listen {{
		type = auth
		ipaddr = *
		port = {auth}
	}}
	listen {{
		type = acct
		ipaddr = *
		port = {acct}
	}}
	authorize {{
		{seen}
		chap
		mschap
		files
		pap
	}}
	authenticate {{
		Auth-Type PAP {{
			pap
		}}
		Auth-Type CHAP {{
			chap
		}}
		Auth-Type MS-CHAP {{
			mschap
		}}
	}}
	accounting {{
		detail
		ok
	}}
	post-auth {{
		{signs}
		Post-Auth-Type REJECT {{
			{signs}
		}}
	}}
}}
"""
_SIGNS = "update reply {\n\t\t\tMessage-Authenticator := 0x00\n\t\t}"


def radius_sections(folder: Path, address: IPv4Address, group: Mapping[str, object], controlled: bool = True) -> str:
    """Return what a gateway's configuration says of a server at `address`, r1, and of its group, isp.

    Its secret is written into `folder`. `group`: more keys of the group. `controlled`: it may change sessions.
    """
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    server = {"name": "r1", "address": address, "secret": secret}
    sections = [
        section("[[services]]", {"name": "gold", "up": "20M", "down": "100M"}),
        section("[[radius.servers]]", server),
        section("[[radius.groups]]", {"name": "isp", "servers": ["r1"], "pool": "residential"}, group),
    ]
    if controlled:
        sections.append(section("[[radius.controllers]]", {"address": address, "secret": secret}))
    return "\n".join(sections)


Record = dict[str, list[str]]
"""What a request said: attribute → values, as FreeRADIUS writes them."""


class RadiusServer:
    """A server with its own folder. `users` is the text of its users file; `restart` reads it anew."""

    def __init__(
        self,
        host: Host,
        users: str,
        auth: int = 1812,
        acct: int = 1813,
        secret: str = SECRET,
        signs: bool = True,
        cleanup: int = 5,
        watched: bool = True,
        more: Path | None = None,
    ) -> None:
        """`signs`: its replies have a Message-Authenticator; `watched`: it writes down what it is asked.

        `more`: a dictionary of the operator's own.
        """
        self.host, self.secret, self.auth, self.acct = host, secret, auth, acct
        self.folder = Path(mkdtemp(prefix="radius-", dir=host.folder))
        own = resources.files("wayleave.proto.radius").joinpath("dictionaries", "wayleave").read_text()
        (self.folder / "dictionary.wayleave").write_text(own)
        (self.folder / "dictionary").write_text(
            f"$INCLUDE /usr/share/freeradius/dictionary\n$INCLUDE {self.folder}/dictionary.wayleave\n"
            + (f"$INCLUDE {more}\n" if more is not None else "")
        )
        (self.folder / "radiusd.conf").write_text(
            CONFIGURATION.format(
                name=self.folder.name,
                folder=self.folder,
                secret=secret,
                auth=auth,
                acct=acct,
                signs=_SIGNS if signs else "ok",
                cleanup=cleanup,
                seen="seen" if watched else "ok",
            )
        )
        self.users(users)
        self.start()

    def users(self, text: str) -> None:
        """Write the users file: it counts from the next start."""
        (self.folder / "users").write_text(text)

    def start(self) -> None:
        """Raises: TimeoutError with its log, if it does not serve."""
        words = (
            "freeradius",
            "-f",
            "-l",
            "stdout",
            "-d",
            str(self.folder),
            "-D",
            "/usr/share/freeradius",
            "-n",
            "radiusd",
        )
        self.process = self.host.spawn(*words, log="freeradius")

        def ready() -> bool:
            if not self.process.alive:
                raise RuntimeError(f"freeradius ended:\n{self.process.output()[-3000:]}")
            return "Ready to process requests" in self.process.output()

        wait_until(ready, "freeradius that serves", 20)

    def stop(self) -> None:
        """As a machine that lost its power: no word to anybody."""
        self.process.kill()

    def freeze(self) -> None:
        """Have it say nothing more, and lose nothing of what it is told until the socket's buffer is full."""
        self.process.signal(signal.SIGSTOP)

    def restart(self) -> None:
        self.stop()
        self.start()

    def asked(self) -> list[Record]:
        """The Access-Requests that came in, passwords apart."""
        return _records(self.folder / "seen")

    def accounted(self) -> list[Record]:
        """The Accounting-Requests that it acknowledged, in the order in which they came."""
        return _records(self.folder / "detail")

    def close(self) -> None:
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def radclient(
        self, to: IPv4Address, command: str, attributes: str, secret: str | None = None, port: int = 3799
    ) -> str:
        """Send `coa` or `disconnect` with attributes a line each; returns what radclient says of the answer."""
        asked = self.folder / "asked"
        asked.write_text(f"{attributes.strip()}\nMessage-Authenticator = 0x00\n")
        words = ("radclient", "-x", "-r", "1", "-t", "3", "-d", str(self.folder), "-D", "/usr/share/freeradius")
        return self.host.run(
            *words, "-f", str(asked), f"{to}:{port}", command, secret or self.secret, check=False, timeout=20
        )


def _records(path: Path) -> list[Record]:
    """Read a file of the `detail` module: a header, then `\\tName = value` lines, then an empty one."""
    found: list[Record] = []
    if not path.exists():
        return found
    whole, _, _ = path.read_text(errors="replace").rpartition("\n\n")  # the last may be being written
    for block in whole.split("\n\n"):
        record: Record = {}
        for name, value in re.findall(r"^\t(\S+) = (.*)$", block, re.MULTILINE):
            record.setdefault(name, []).append(value.strip('"'))
        if record:
            found.append(record)
    return found
