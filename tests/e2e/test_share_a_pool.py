"""docs/howto/share-a-pool.md as it stands there, but for folders, gateways' names and devices, and Nexus's address."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from wayleave.lab.access_node import Line
from wayleave.lab.host import Host
from wayleave.lab.nexus import SQLITE, host_on, machine_in
from wayleave.lab.topology import Lab, Site
from wayleave.lab.waiting import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "share-a-pool.md").read_text()
SERVICE, CLIENT, GATEWAY, SHOWN = re.findall(r"^```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PARTS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)}
MODULES = {"nexus": "wayleave.cli.nexus", "bng": "wayleave.cli.bng"}
SPACE, FIXED = IPv4Network("100.64.0.0/16"), IPv4Address("100.64.9.9")
LINES = [Line(100, 7), Line(100, 8)]


class Reader:
    """Does on a host what the page says; `meanings`: what its words are here."""

    def __init__(self, host: Host, folder: Path, meanings: Mapping[str, str]) -> None:
        self._host, self._folder = host, folder
        self._meanings = {"/etc/wayleave": str(folder), "/var/lib/wayleave": f"{folder}/state", **meanings}

    def meant(self, text: str) -> str:
        for word, other in self._meanings.items():
            text = text.replace(word, other)
        return text

    def do(self, part: str, program: str) -> list[str]:
        """Run what a part of the page has of a program, each to its end; returns what that printed."""
        lines = re.findall(rf"^    ({program} (?!run|serve).+)$", PARTS[part], re.MULTILINE)
        assert lines
        return [self._run(*shlex.split(self.meant(line))) for line in lines]

    def _run(self, program: str, *words: str) -> str:
        asks = program == "nexus" and words[0] in ("put", "show")
        client = ("--client", str(self._folder / "nexus-client.toml")) if asks else ()
        return self._host.run(sys.executable, "-m", MODULES[program], *words, *client)


def gateway(reader: Reader, site: Site, name: str) -> None:
    """Configure and start a gateway, and wait for its first block."""
    text = reader.meant(GATEWAY.replace("bng1", name))
    site.gateway.config_file.write_text(text)
    reader.do("The gateways", "bng check")
    site.gateway.start(text)
    wait_until(site.gateway.blocks, f"blocks of {name}")


def says(reader: Reader, shown: str) -> bool:
    """Whether a gateway without Nexus says what the page shows; for how long it has been so is its own to say."""
    (said,) = reader.do("Nexus is away", "bng show")
    lines = [" ".join(line.split()) for line in said.splitlines()]
    rows = [" ".join(row.split()).partition(", for")[0] for row in reader.meant(shown).splitlines()]
    return all(any(line.startswith(row) for line in lines) for row in rows)


def test_the_page() -> None:
    with (
        Lab(LINES, others=[LINES], pools=[SPACE]) as lab,
        machine_in(lab) as machine,
        host_on(lab, machine, SQLITE) as nexus,
    ):
        here, there = lab.sites
        names = {"bng1": here.instance, "bng2": there.instance, "192.0.2.10": str(nexus.interface.ip)}
        folder = nexus.folder / "etc"
        operator = Reader(nexus, folder, names)
        operator.do("Certificates", "nexus")
        (folder / "state").mkdir()
        nexus.config_file = folder / "nexus.toml"
        nexus.config_file.write_text(operator.meant(SERVICE))
        (folder / "nexus-client.toml").write_text(operator.meant(CLIENT))
        assert "good" in operator.do("Nexus", "nexus")[0]
        nexus.start()
        operator.do("A pool, a line, a subscriber", "nexus")

        readers = []
        for name, site in zip(("bng1", "bng2"), lab.sites, strict=True):
            for file in ("ca.pem", f"{site.instance}.pem", f"{site.instance}.key"):
                (site.folder / file).touch(0o600)
                (site.folder / file).write_bytes((folder / "ca" / file).read_bytes())
            devices = {"/run/wayleave/bng.sock": str(site.gateway.api), "eth1": "acc0", "eth2": "core0"}
            readers.append(Reader(site.gateway, site.folder, {**devices, **names}))
            gateway(readers[-1], site, name)
        wait_until(lambda: IPv4Network(FIXED) in here.gateway.blocks(), "the fixed address")
        lab.route_blocks()
        assert here.customers[0].dhcp().address == FIXED
        strangers = [site.customers[1].dhcp().address for site in lab.sites]
        assert len({FIXED, *strangers}) == 3
        assert all(address in SPACE for address in strangers)
        assert here.customers[0].ping(strangers[1])
        assert "answers" in readers[0].do("The gateways", "bng show")[0]
        for listed in operator.do("The gateways", "nexus show"):
            assert here.instance in listed
            assert there.instance in listed

        nexus.kill9()
        wait_until(lambda: says(readers[0], SHOWN), "what the page shows")
        here.customers[1].forget()
        assert here.customers[1].dhcp().address == strangers[0]
        assert here.customers[1].ping(lab.server_address)
        nexus.start()

        operator.do("A subscriber moves", "nexus")
        wait_until(lambda: IPv4Network(FIXED) in there.gateway.blocks(), "the fixed address, where it went", 40)
        lab.route_blocks()
        assert there.customers[0].dhcp().address == FIXED
        assert there.customers[0].ping(lab.server_address)
