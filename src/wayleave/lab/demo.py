"""The demo: what gateways claim, proved on small networks with real DHCP clients and captured packets.

    python -m wayleave.lab.demo                    all claims; exit status 0 if each holds
    python -m wayleave.lab.demo --only antispoof   some of them
    python -m wayleave.lab.demo --mutant NAME      with something switched off: exit status 0 if its claim turned red
    python -m wayleave.lab.demo --mutants          every mutant in turn; exit status 0 if each turned its claim red
    python -m wayleave.lab.demo --keep             leave the network up to look around

Each claim has its scene: one gateway, or two that share pools through Nexus.
Needs root. Makes its own network namespaces and nothing else, and removes them at the end, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wayleave.lab import pppoe_claims as pppoe_claims  # their claims come behind the others, in this order
from wayleave.lab import radius_claims as radius_claims

from wayleave.lab import nexus_claims as nexus_claims  # isort: skip
from wayleave.lab.claims import USER, Story
from wayleave.lab.customer import NoLease
from wayleave.lab.nexus_claims import SharedStory
from wayleave.lab.pppoe import NoConnection
from wayleave.lab.scene import CLAIMS, Broken, Claim, Mutant, Scene
from wayleave.lab.topology import PINS


class Outcome(Enum):
    """FAILED: the check itself could not be done, which says nothing about the claim."""

    HOLDS = "holds"
    BROKEN = "BROKEN"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a claim."""

    claim: Claim
    outcome: Outcome
    evidence: str
    seconds: float

    @property
    def holds(self) -> bool:
        """The claim was checked and is true."""
        return self.outcome is Outcome.HOLDS


def judge(scene: Scene, claim: Claim) -> Verdict:
    """Check one claim."""
    start = time.monotonic()
    try:
        scene.running()
        evidence, outcome = claim.check(scene), Outcome.HOLDS
    except (Broken, NoLease, NoConnection, TimeoutError) as error:
        evidence, outcome = str(error), Outcome.BROKEN
    except Exception as error:
        evidence, outcome = f"{type(error).__name__}: {error}", Outcome.FAILED
    return Verdict(claim, outcome, evidence, time.monotonic() - start)


def tell(console: Console, verdict: Verdict) -> None:
    """Print a verdict as it falls."""
    mark = Text(f"{verdict.outcome.value:>6} ", "bold green" if verdict.holds else "bold red")
    console.print(mark, Text(verdict.claim.words), Text(f"{verdict.seconds:.1f} s", "dim"))
    console.print(Padding(Text(_first_lines(verdict.evidence), "dim"), (0, 0, 0, 8)))


def closing_table(verdicts: Sequence[Verdict]) -> Table:
    """The table at the end."""
    table = Table("claim", "", "evidence", box=box.SIMPLE_HEAD, pad_edge=False, title="What was claimed, what was seen")
    for verdict in verdicts:
        style = "green" if verdict.holds else "bold red"
        name = Text(verdict.claim.name, "bold")
        mark = Text(verdict.outcome.value, style)
        table.add_row(name, mark, Text(_first_lines(verdict.evidence)))
    return table


def _first_lines(text: str, count: int = 6) -> str:
    return "\n".join(text.splitlines()[:count])


def run_claims(console: Console, claims: Sequence[Claim], mutant: Mutant | None, keep: bool, pcap: Path | None) -> int:
    """Check the claims one after the other, each on its scene; returns the exit status."""
    verdicts: list[Verdict] = []
    with contextlib.ExitStack() as stack:
        scenes = []
        for kind, of_it in groupby(claims, key=lambda item: item.scene):
            scene = stack.enter_context(kind.staged(mutant))
            scenes.append(scene)
            console.print(Text(scene.drawing, "dim"))
            if mutant:
                console.print(Text(f"mutant {mutant.name}: {mutant.words}", "yellow"))
            if pcap is not None:
                _capture(stack, scene, pcap)
            for item in of_it:
                with console.status(f"{item.words} …"):
                    verdicts.append(judge(scene, item))
                tell(console, verdicts[-1])
        console.print()
        console.print(closing_table(verdicts))
        good, words = _summary(verdicts, mutant)
        console.print(Text(words, "bold green" if good else "bold red"))
        if not good:
            for site in (site for scene in scenes for site in scene.lab.sites):
                console.print(Text(f"the log of {site.instance} ended:\n{site.gateway.log[-1500:]}", "dim"))
        if keep:
            with contextlib.suppress(KeyboardInterrupt):
                for scene in scenes:
                    scene.running()
                    console.print(Text("\n".join(_LOOKS[type(scene)](scene))), soft_wrap=True)
                threading.Event().wait()
    return 0 if good else 1


def _capture(stack: contextlib.ExitStack, scene: Scene, folder: Path) -> None:
    """Write what passes the first gateway to files, at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    trunk = stack.enter_context(scene.lab.access_node.trunk.capture())
    core = stack.enter_context(scene.lab.router.capture())
    stack.callback(trunk.write_pcap, folder / f"{scene.prefix}trunk.pcap")
    stack.callback(core.write_pcap, folder / f"{scene.prefix}core.pcap")


def _summary(verdicts: Sequence[Verdict], mutant: Mutant | None) -> tuple[bool, str]:
    """Whether all went as it should, and that in words. With a mutant in its place, a claim should come out broken."""
    count = len(verdicts)
    if mutant is None:
        held = sum(verdict.holds for verdict in verdicts)
        return held == count, f"{held} of {count} claims hold"
    of_it = [verdict for verdict in verdicts if verdict.claim.mutant is mutant]
    broken = [verdict for verdict in of_it if verdict.outcome is Outcome.BROKEN]
    if broken:
        return True, f"the mutant {mutant.name} turned the claim {broken[0].claim.name} red, as it should"
    return False, f"the mutant {mutant.name} did not turn its claim red: a check that cannot fail proves nothing"


def run_mutant(claim: Claim) -> Verdict:
    """Check a claim with its mutant in the gateway's place: it should come out broken."""
    with claim.scene.staged(claim.mutant) as scene:
        return judge(scene, claim)


def run_mutants(console: Console, claims: Sequence[Claim]) -> int:
    """Every mutant in turn; returns 0 if each turned its claim red."""
    table = Table("mutant", "switched off", "claim", "", "seen instead", box=box.SIMPLE_HEAD, pad_edge=False)
    survived = 0
    for item in claims:
        with console.status(f"{item.mutant.words} …"):
            verdict = run_mutant(item)
        caught = verdict.outcome is Outcome.BROKEN
        survived += not caught
        mark = Text("broken, as it must", "green") if caught else Text(f"still {verdict.outcome.value}", "bold red")
        table.add_row(item.mutant.name, item.mutant.words, item.name, mark, _first_lines(verdict.evidence, 2))
    console.print(table)
    return 1 if survived else 0


PCAP = "trunk.pcap"


def _somebody_on(story: Story) -> IPv4Address:
    """Have a customer who is on, whatever the claims left, and its first packets in a file; and one who dials.

    That one dials again whenever it is cut off.
    """
    lab = story.lab
    with contextlib.suppress(NoConnection, TimeoutError):  # a mutant may keep it off
        pppoe_claims.dialled(story, "--persist")
    with lab.access_node.trunk.capture() as trunk:
        customer, lease = story.fresh(0)
        customer.ping(lab.server_address)
        trunk.write_pcap(lab.folder / PCAP)
    return lease.address


def _at_one(story: Story) -> list[str]:
    lab, address, bng = story.lab, _somebody_on(story), _command("bng")
    hosts = (lab.customers[0], lab.customers[pppoe_claims.DIALS], lab.gateway, lab.router)
    enter = [f"nsenter --net={host.namespace.path} bash" for host in hosts]
    return [
        "The network stays up until you press Ctrl-C here. In another terminal:",
        f"  {enter[0]}    # a customer: ping {lab.server_address}",
        f"  {enter[1]}    # one who dials PPPoE, as {USER}: ip addr show ppp0",
        f"  {enter[2]}    # the gateway: ip route, ip neigh",
        f"  {enter[3]}    # the core router: tcpdump -ni gw0",
        f"  {bng} show session {address} --config {lab.gateway.config_file}",
        f"  {bng} explain --pcap {lab.folder / PCAP} --packet 2 --port 1 --config {lab.gateway.config_file}",
        f"  bpftool map dump pinned {PINS / lab.instance}/maps-*/clients",
    ]


def _at_two(story: SharedStory) -> list[str]:
    nexus = story.nexus.machines[0].nexus
    certificate = nexus.certificate("operator", "operator")
    own = f"--certificate {certificate} --key {certificate.with_suffix('.key')} --ca {nexus.authority / 'ca.pem'}"
    ask = f"nsenter --net={nexus.namespace.path} {_command('nexus')} show"
    return [
        "The two gateways that share pools, and Nexus:",
        *(f"  {_command('bng')} show nexus --config {site.gateway.config_file}" for site in story.lab.sites),
        *(f"  {ask} {words} --server {nexus.url} {own}" for words in ("nodes", "blocks --pool home", "audit")),
    ]


def _command(name: str) -> Path:
    return Path(sys.executable).with_name(name)


_LOOKS: Mapping[type[Scene], Callable[[Any], list[str]]] = {Story: _at_one, SharedStory: _at_two}
"""What there is to look at."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    names = [item.name for item in CLAIMS]
    mutants = {item.mutant.name: item for item in CLAIMS}
    parser = argparse.ArgumentParser(prog="python -m wayleave.lab.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=names, metavar="CLAIM", help=f"of {', '.join(names)}")
    parser.add_argument("--mutant", choices=list(mutants), metavar="MUTANT", help=f"of {', '.join(mutants)}")
    parser.add_argument("--mutants", action="store_true", help="every mutant in turn")
    parser.add_argument("--keep", action="store_true", help="leave the network up until Ctrl-C")
    parser.add_argument("--pcap", type=Path, metavar="FOLDER", help="write trunk.pcap and core.pcap there")
    options = parser.parse_args(arguments)
    console = Console(markup=False, emoji=False, highlight=False)
    if os.geteuid() != 0:
        console.print("the demo makes network namespaces and loads BPF programs: run it as root")
        return 2
    chosen = [item for item in CLAIMS if not options.only or item.name in options.only]
    mutant = None
    if options.mutant:
        mutant = mutants[options.mutant].mutant
        chosen = chosen if options.only else [mutants[options.mutant]]
    try:
        if options.mutants:
            return run_mutants(console, chosen)
        return run_claims(console, chosen, mutant, options.keep, options.pcap)
    except KeyboardInterrupt:
        console.print("interrupted; everything was removed")
        return 130


if __name__ == "__main__":
    sys.exit(main())
