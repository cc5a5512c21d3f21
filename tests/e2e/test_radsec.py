"""RADIUS over TLS: radsecproxy, with certificates that openssl made, stands before a real server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.radius import SECRET, RadiusServer
from wayleave.lab.radsec import Authority, Proxy, forwarding
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

FIRST, SECOND = "02:c0:00:00:00:00", "02:c0:00:00:00:01"
USERS = "\n\n".join(f'{mac} Cleartext-Password := "{mac}"\n\tFramed-Pool = "residential"' for mac in (FIRST, SECOND))
HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "radsec.md"
OTHER_PORTS = 11812, 11813


class Isp:
    """A lab with a server, the proxy before it, and the authority that it and the gateway have certificates of."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.authority = Authority(lab.folder)
        self.server = RadiusServer(lab.router, USERS)
        certificate = self.authority.issue("server", f"IP:{lab.router_address}")
        self.proxy = Proxy(lab.router, forwarding(self.server, certificate, self.authority.certificate, lab.core.ip))
        self.secret = lab.folder / "secret"
        self.secret.write_text(SECRET)
        self.secret.chmod(0o600)

    def start(self, by: Authority | None = None, ca: Authority | None = None, then: str = "") -> None:
        """Start the gateway, with a certificate `by` an authority; `ca`: which one it believes of servers.

        `then`: who is asked where r1 is not there.
        """
        certificate, key = (by or self.authority).issue("gateway")
        self.lab.gateway.start(
            self.lab.config(tenant={"radius": "isp"}, more=self._section(certificate, key, ca or self.authority, then))
        )

    def _section(self, certificate: Path, key: Path, ca: Authority, then: str) -> str:
        return f"""
[[radius.servers]]
name = "r1"
address = "192.0.2.2"
transport = "radsec"
certificate = "{certificate}"
key = "{key}"
ca = "{ca.certificate}"
timeout = "30s"

[[radius.servers]]
name = "r2"
address = "192.0.2.2"
secret = "{self.secret}"
auth_port = {OTHER_PORTS[0]}
acct_port = {OTHER_PORTS[1]}

[[radius.groups]]
name = "isp"
servers = ["r1"{then}]
"""

    def until_logged(self, text: str, times: int = 1) -> None:
        gateway = self.lab.gateway
        wait_until(
            lambda: gateway.log.count(text) >= times, lambda: f"{times} times {text!r} in the log:\n{gateway.log}", 20
        )


@pytest.fixture
def isp() -> Iterator[Isp]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        yield Isp(lab)


def test_accepted_and_accounted_and_nothing_in_the_clear(isp: Isp) -> None:
    customer = isp.lab.customers[0]
    with isp.lab.router.capture() as wire:
        isp.start()
        isp.until_logged("radsec-connected server=r1", times=2)
        assert customer.dhcp("udhcpc").address in isp.lab.pools[0]
        assert customer.ping(isp.lab.server_address)
        (session,) = isp.lab.gateway.get("/sessions")["sessions"]
        assert (session["subscriber"], session["authority"]) == (FIRST, "isp")
        customer.release()
        wait_until(lambda: len(isp.server.accounted()) == 2, lambda: f"Start and Stop: {isp.server.accounted()}")
    begun, ended = isp.server.accounted()
    assert (begun["Acct-Status-Type"], ended["Acct-Status-Type"]) == (["Start"], ["Stop"])
    assert begun["Acct-Session-Id"] == ended["Acct-Session-Id"] == [session["accounting"]]
    assert begun["User-Name"] == [FIRST]
    port = (2083).to_bytes(2, "big")
    carried = [frame.data for frame in wire.frames]
    assert len([data for data in carried if data[23] == 6 and port in (data[34:36], data[36:38])]) > 20
    assert [data for data in carried if FIRST.encode() in data] == []
    assert [data for data in carried if data[12:14] == b"\x08\x00" and data[23] == 17] == []
    assert isp.lab.gateway.stop() == 0


def test_a_server_of_an_unknown_authority_is_asked_nothing(isp: Isp) -> None:
    isp.start(ca=Authority(isp.lab.folder, "Another CA"))
    why = "its certificate is of a CA that is not in `ca`"
    isp.until_logged(why, times=2)
    with pytest.raises(TimeoutError):
        isp.lab.customers[0].dhcp("udhcpc", timeout=4)
    assert isp.server.asked() == []
    told = isp.lab.gateway.bng("diagnose", FIRST, "--config", str(isp.lab.gateway.config_file), check=False)
    assert why in " ".join(told.split())
    shown = isp.lab.gateway.bng("show", "radius", "--config", str(isp.lab.gateway.config_file))
    assert f"r1, access: {why}" in " ".join(shown.split())
    assert isp.lab.gateway.log.count("radsec-lost") == 2, "once a cause, for access and for accounting"


def test_a_gateway_of_an_unknown_authority_is_refused_by_the_proxy(isp: Isp) -> None:
    isp.start(by=Authority(isp.lab.folder, "Another CA"))
    isp.until_logged("the server refuses this gateway's certificate")
    with pytest.raises(TimeoutError):
        isp.lab.customers[0].dhcp("udhcpc", timeout=4)
    assert isp.server.asked() == []
    assert "radsec-connected" not in isp.lab.gateway.log


def test_a_proxy_that_dies_is_replaced_and_later_used_again(isp: Isp) -> None:
    """What it was asked goes to a server over UDP, long before its time is over; once it is back, it is asked again."""
    first, second = isp.lab.customers
    other = RadiusServer(isp.lab.router, USERS, *OTHER_PORTS)
    isp.start(then=', "r2"')
    isp.until_logged("radsec-connected server=r1", times=2)
    isp.server.freeze()
    first.dhcp_start("udhcpc")
    waiting = lambda: isp.lab.router.run("ss", "-Hlun", "sport = :1812").split()[1] != "0"  # noqa: E731
    wait_until(waiting, "a question in front of the server that says nothing")
    assert other.asked() == []
    isp.proxy.stop()
    first.wait_lease()
    assert [record["User-Name"] for record in other.asked()] == [[FIRST]]
    isp.server.restart()
    isp.proxy.start()
    isp.until_logged("radsec-connected server=r1", times=4)
    second.dhcp("udhcpc")
    assert isp.server.asked()[-1]["User-Name"] == [SECOND]
    assert len(other.asked()) == 1
    accounted = lambda: isp.server.accounted() + other.accounted()  # noqa: E731
    begun = lambda: {name for record in accounted() for name in record.get("User-Name", [])}  # noqa: E731
    wait_until(lambda: begun() == {FIRST, SECOND}, lambda: f"a Start of both: {accounted()}")


def test_the_howto(tmp_path: Path) -> None:
    """Its commands, its proxy and its gateway, as they stand there, but for folders and the server's secret."""
    text = HOWTO.read_text()
    for command in re.findall(r"^    (.+)$", text, re.MULTILINE):
        subprocess.run(command, shell=True, check=True, cwd=tmp_path, capture_output=True)
    proxy, gateway = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    with Lab([Line(100, 1)]) as lab:
        for file in tmp_path.glob("bng1.*"):
            file.rename(lab.folder / file.name)
        (lab.folder / "ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
        server = RadiusServer(lab.router, USERS)
        Proxy(lab.router, proxy.replace("/etc/radsecproxy", str(tmp_path)).replace("SECRET", server.secret))
        group = '[[radius.groups]]\nname = "isp"\nservers = ["r1"]\n'
        lab.gateway.start(lab.config(tenant={"radius": "isp"}, more=gateway + group))
        lab.customers[0].dhcp("udhcpc")
        assert server.asked()[0]["User-Name"] == [FIRST]
