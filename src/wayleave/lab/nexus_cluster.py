"""A cluster of Nexus in the lab: three machines beside the core, each with `nexus serve` and a member of an etcd.

with Lab([Line(100, 1)], others=[[Line(100, 1)]]) as lab, nexus_cluster_in(lab) as cluster:
    cluster.make("/v1/pools/home", {...})
    for site in lab.sites:
        site.gateway.start(site.config(pool={"nexus": "home"}, more=cluster.section(site)))
    cluster.leader().kill9()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from wayleave.lab.etcd import EtcdCluster, EtcdNode
from wayleave.lab.namespace import Namespace
from wayleave.lab.nexus import Answer, NexusHost, host_on, machine_in
from wayleave.lab.site import Site
from wayleave.lab.topology import Lab


class Machine:
    """One of the cluster: its Nexus, and its member of etcd."""

    def __init__(self, nexus: NexusHost, etcd: EtcdCluster, member: EtcdNode) -> None:
        self.nexus, self.member = nexus, member
        self._etcd = etcd

    def kill9(self) -> None:
        """SIGKILL to all that runs on it, as if its power were gone."""
        self.member.kill9()
        self.nexus.kill9()

    def launch(self) -> None:
        """Start what does not run on it; returns at once."""
        if not self.member.alive:
            self._etcd.start(self.member)
        if not self.nexus.alive:
            self.nexus.launch()


class NexusCluster:
    """Three machines, which are one Nexus to whoever asks."""

    def __init__(self, core: Namespace, hosts: list[NexusHost], etcd: EtcdCluster) -> None:
        self._core, self._etcd = core, etcd
        self.machines = [Machine(*each) for each in zip(hosts, [etcd] * len(hosts), etcd.nodes, strict=True)]

    def start(self) -> None:
        """Start what does not run; returns when every machine answers. Raises: NexusFailed, TimeoutError."""
        for machine in self.machines:
            machine.launch()
        self._etcd.wait()
        for machine in self.machines:
            machine.nexus.wait_ready()

    def leader(self) -> Machine:
        """Wait for a leader of etcd; returns its machine. Raises: TimeoutError."""
        member = self._etcd.leader()
        return next(machine for machine in self.machines if machine.member is member)

    # ---- who asks it --------------------------------------------------------------------

    def section(self, site: Site, *machines: Machine) -> str:
        """Return what a gateway's configuration says of it. `machines`: those alone that it is to know."""
        servers = [machine.nexus.url for machine in machines or self.machines]
        return self.machines[0].nexus.section(site, *servers)

    @property
    def _any(self) -> NexusHost:
        return next(machine.nexus for machine in self.machines if machine.nexus.alive)

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask one that lives, as an operator. Raises: OSError if it does not answer."""
        return self._any.ask(method, path, body, headers)

    def make(self, path: str, body: Mapping[str, object]) -> None:
        """Make a record that is not there yet. Raises: NexusFailed with why not."""
        self._any.make(path, body)

    # ---- the ways to it -----------------------------------------------------------------

    def cut_off(self, site: Site) -> None:
        """Have nothing that it says reach a gateway; the traffic of subscribers goes on."""
        for machine in self.machines:
            machine.nexus.cut_off(site)

    def mend(self, site: Site) -> None:
        """End that."""
        for machine in self.machines:
            machine.nexus.mend(site)

    def isolate(self, machine: Machine) -> None:
        """Have nothing pass between a machine and the others; gateways reach all of them."""
        self._core.ip(*(f"rule add {rule}" for rule in self._between(machine)))

    def rejoin(self, machine: Machine) -> None:
        """End that."""
        self._core.ip(*(f"rule del {rule}" for rule in self._between(machine)))

    def _between(self, machine: Machine) -> Iterator[str]:
        one = machine.nexus.interface.ip
        for other in self.machines:
            if other is not machine:
                there = other.nexus.interface.ip
                yield f"from {one} to {there} blackhole"
                yield f"from {there} to {one} blackhole"


@contextmanager
def nexus_cluster_in(lab: Lab, more: str = "") -> Iterator[NexusCluster]:
    """Yield a cluster that runs, with no pools. `more`: the rest of each one's configuration, in [nexus]."""
    with ExitStack() as stack:
        machines = [stack.enter_context(machine_in(lab)) for _ in range(3)]
        etcd = EtcdCluster(lab.folder, machines)
        hosts: list[NexusHost] = []
        for machine in machines:
            authority = hosts[0].authority if hosts else None
            hosts.append(stack.enter_context(host_on(lab, machine, f"{more}\n{etcd.section}", authority)))
        stack.enter_context(etcd)
        cluster = NexusCluster(lab.router.namespace, hosts, etcd)
        cluster.start()
        yield cluster
