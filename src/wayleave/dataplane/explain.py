"""What the data plane would do with a packet: the loaded program's twin, on the live tables, leaving no trace.

The twin is the same source with everything taken out that counts, charges, sends up or remembers. It runs in
BPF_PROG_TEST_RUN, so nothing leaves; redirects are told, not done. What it says is true of the moment it ran.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from wayleave.dataplane import abi, syscall
from wayleave.dataplane.abi import NO_SESSION, Dhcp4Result, DropReason, Outcome, PortKind, Stage
from wayleave.dataplane.objects import Map

PROGRAMS = {
    PortKind.SUBSCRIBER: "explain_access",
    PortKind.NETWORK: "explain_core",
    PortKind.HOST_LINK: "explain_core",
}
LONGEST = 4096
"""Octets of a packet that can be explained."""


class Explanation(Struct, frozen=True, kw_only=True):
    """What would become of a packet.

    `stages` are those that ran, in order; the last one ended it. `reason` is why it is dropped, `dhcp4` what the
    program made of a DHCP message. `session` is the id of the client it is from (on network ports: for), `receiver` of
    the one it is delivered to, `out` the number of the port it leaves by. `packet` is how it would leave.
    """

    stages: tuple[Stage, ...]
    outcome: Outcome
    reason: DropReason | None
    dhcp4: Dhcp4Result | None
    session: int | None
    receiver: int | None
    out: int | None
    packet: bytes


class Explainer:
    """Runs packets through the twins. `programs` are the loaded object's by name."""

    def __init__(self, programs: Mapping[str, int], maps: Mapping[str, Map]) -> None:
        self._programs, self._map = programs, maps["explanation"]

    def explain(self, frame: bytes, ifindex: int, kind: PortKind) -> Explanation:
        """Tell what would become of a frame that came in by a device, in the caller's network namespace.

        Raises: ValueError if the frame is shorter than an Ethernet header or longer than `LONGEST`.
        """
        if not 14 <= len(frame) <= LONGEST:
            raise ValueError(f"a packet of {len(frame)} octets: give a whole Ethernet frame of 14 to {LONGEST}")
        syscall.update(self._map.fd, bytes(4), bytes(abi.Explanation.SIZE))
        ran = syscall.run(self._programs[PROGRAMS[kind]], frame, ifindex)
        told = abi.Explanation.unpack(syscall.lookup(self._map.fd, bytes(4), abi.Explanation.SIZE) or b"")
        outcome = Outcome(told.outcome)
        return Explanation(
            stages=tuple(Stage(stage) for stage in told.steps[: told.step_count]),
            outcome=outcome,
            reason=DropReason(told.reason) if outcome is Outcome.DROPPED else None,
            dhcp4=Dhcp4Result(told.dhcp4) if told.dhcp4 in set(Dhcp4Result) else None,
            session=told.session if told.session != NO_SESSION else None,
            receiver=told.receiver if told.receiver != NO_SESSION else None,
            out=told.out or None,
            packet=ran.packet,
        )
