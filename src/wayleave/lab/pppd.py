"""A customer that dials: Linux's own PPPoE client, in a guest behind the access node.

    with Lab() as lab, PppoeCustomer(lab, Line(100, 9)) as customer:
        customer.dial("alice", "open sesame")
        assert customer.ping(lab.server_address)
        assert customer.hang_up() == BY_SIGNAL

It is pppd with Debian's options and scripts on its kernel's PPPoE; the kernel of here need know neither. It dials once,
and stays down when it is cut off. What it agreed on and how it ended is read in what it writes.

Source: pppd(8), version 2.4.9.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from wayleave.lab.access_node import Line
from wayleave.lab.guest import DEBIAN, JOURNAL, Guest, Kernel
from wayleave.lab.host import Ping, parse_ping, ping_words
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

BY_SIGNAL, CUT, REFUSED = 5, 16, 19
"""Exit status: it was told to end; the other side ended the session; the other side does not believe who it is."""

_PID_FILE = "/run/pppd.pid"
_SECRETS = ("/etc/ppp/chap-secrets", "/etc/ppp/pap-secrets")
_COMMAND = (
    *("pppd", "plugin", "pppoe.so", "nic-eth0", "nodetach", "debug", "noauth"),
    *("noipdefault", "defaultroute", "usepeerdns"),
)
_ENDED = re.compile(r"^pppd ended with status (\d+)$", re.MULTILINE)
_ADDRESS = re.compile(r"^(local|remote|primary|secondary) +(IP|LL|DNS) address (\S+)$", re.MULTILINE)
_UP, _UP6 = "Script /etc/ppp/ip-up started", "Script /etc/ppp/ipv6-up started"


class NotConnected(Exception):
    """pppd ended, or did not come up in time; the text has what it wrote."""


@dataclass(frozen=True, slots=True)
class Link:
    """What pppd agreed on. IPv6 (not with option `noipv6`) comes up by itself: until then it is None."""

    address: IPv4Address
    peer: IPv4Address
    dns: tuple[IPv4Address, ...]
    address6: IPv6Address | None
    peer6: IPv6Address | None


class PppoeCustomer(Guest):
    """The guest that dials. Close it, or use `with`: that switches it off, and the other side hears nothing of it."""

    def __init__(self, lab: Lab, line: Line, kernel: Kernel = DEBIAN) -> None:
        """Plug it in and start it. Raises: as `Guest` does."""
        cable = lab.cable(line)
        self.mac = cable.mac
        self._dialled_at = 0
        folder = lab.folder / cable.name
        folder.mkdir()
        super().__init__(kernel, folder, [cable], memory_mb=256)
        # No IP on the card itself, as a router has it, also no version 6: what is on the line is what dials.
        self.run("sysctl", "-q", "net.ipv6.conf.eth0.disable_ipv6=1")
        self.run("ip", "link", "set", "eth0", "mtu", str(lab.customer_mtu), "up")

    def dial(self, user: str, secret: str, *options: str, timeout: float = 60.0) -> Link:
        """Dial in; returns when IPv4 is up. `options` are more of pppd's; they come last, and so prevail.

        Raises: NotConnected.
        """
        self.dial_start(user, secret, *options)
        return self.wait_up(timeout)

    def dial_start(self, user: str, secret: str, *options: str) -> None:
        """Start pppd, its secrets in files, and return at once."""
        assert not self.log or self.ended is not None, "pppd is running"
        self._dialled_at = len(self.journal)
        secrets = shlex.quote(f'"{user}" * "{secret}"')
        self.shell(f"umask 077; echo {secrets} | tee {' '.join(_SECRETS)} >/dev/null")
        command = shlex.join([*_COMMAND, "user", user, *options])
        self.shell(f"( {command} & echo $! >{_PID_FILE}; wait $!; echo pppd ended with status $? ) >{JOURNAL} 2>&1 &")

    @property
    def log(self) -> str:
        """What pppd wrote since it was started last, every packet of its control protocols included."""
        return self.journal[self._dialled_at :]

    @property
    def link(self) -> Link | None:
        """What it agreed on; None if IPv4 never was up."""
        log = self.log
        if _UP not in log:
            return None
        said = {(side, kind): address for side, kind, address in _ADDRESS.findall(log)}
        here6, there6 = (IPv6Address(said[side, "LL"]) if _UP6 in log else None for side in ("local", "remote"))
        dns = tuple(IPv4Address(address) for (_, kind), address in said.items() if kind == "DNS")
        return Link(IPv4Address(said["local", "IP"]), IPv4Address(said["remote", "IP"]), dns, here6, there6)

    @property
    def ended(self) -> int | None:
        """pppd's exit status, None while it runs. Why is in its log, as in "LCP terminated by peer"."""
        found = _ENDED.search(self.log)
        return int(found[1]) if found else None

    def wait_up(self, timeout: float = 60.0) -> Link:
        """Wait until IPv4 is up. Raises: NotConnected."""

        def up() -> Link | None:
            if self.ended is not None:
                raise NotConnected(f"pppd ended:\n{self.log[-4000:]}")
            return self.link

        try:
            link = wait_until(up, "link", timeout)
        except TimeoutError as error:
            raise NotConnected(f"{error}; pppd wrote:\n{self.log[-4000:]}") from error
        assert link is not None
        return link

    def wait_ended(self, timeout: float = 60.0) -> int:
        """Wait until pppd has ended, whoever ended it; returns its exit status. Raises: TimeoutError with its log."""
        wait_until(lambda: self.ended is not None, lambda: f"end of pppd, which wrote:\n{self.log[-4000:]}", timeout)
        status = self.ended
        assert status is not None
        return status

    def hang_up(self, timeout: float = 60.0) -> int:
        """Have pppd end its session; returns its exit status. Raises: CommandFailed if it has ended before.

        It says so by LCP's Terminate-Request alone: the PADT it leaves to the other side (measured).
        """
        self.shell(f"kill $(cat {_PID_FILE})")
        return self.wait_ended(timeout)

    def ping(self, address: IPv4Address | str, count: int = 3, size: int = 56, df: bool = False) -> Ping:
        """Ping to the end, as a `Host` does; a reply may take five seconds."""
        words = ping_words(size, df, None, 0.05)
        return parse_ping(self.run(*words, "-c", str(count), "-W", "5", str(address), check=False))

    def download(self, url: str, timeout: float = 60.0) -> str:
        """Fetch a file with wget; returns its SHA-256, in hex. Raises: CommandFailed."""
        file = "/run/downloaded"
        fetch = shlex.join(["timeout", str(timeout), "busybox", "wget", "-q", "-O", file, url])
        return self.shell(f"{fetch} && sha256sum {file}", timeout=timeout + 10).split()[0]
