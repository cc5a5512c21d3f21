"""What everybody depends on: ports, the kernel's forwarding, the link to the kernel."""

from __future__ import annotations

from wayleave.api.facts import Facts, PortFacts
from wayleave.api.rules.rule import Rules

RULES = Rules()


@RULES.rule(
    "port-gone",
    "The port's device is gone, or has lost its program.",
    "bring the device back (`ip link show dev {device}`): the gateway takes it up by itself",
)
def _port_gone(facts: Facts) -> str | None:
    port = facts.port
    return f"port {port.number} ({port.device}) is gone or has lost its program" if port and not port.held else None


@RULES.rule(
    "port-disabled",
    "The port is administratively down: somebody has switched it off on this machine.",
    "`ip link set dev {device} up`",
)
def _port_disabled(facts: Facts) -> str | None:
    port = facts.port
    return f"port {port.number} ({port.device}) is administratively down" if port and not port.enabled else None


@RULES.rule(
    "port-down",
    "The port has no carrier: nothing comes from any of its lines.",
    "look at the cable, the optics, the access node",
)
def _port_down(facts: Facts) -> str | None:
    port = facts.port
    return f"port {port.number} ({port.device}) has no carrier" if port and not port.up else None


@RULES.rule(
    "uplink-down",
    "No network port of its tenant works: no client of that reaches the internet.",
    "`ip link set dev {uplink} up` if it is administratively down; else look at the cable, the optics, the router",
)
def _uplink_down(facts: Facts) -> str | None:
    if any(port.held and port.up for port in facts.uplinks):
        return None
    return "; ".join(f"port {port.number} ({port.device}) {_state(port)}" for port in facts.uplinks)


def _state(port: PortFacts) -> str:
    if not port.held:
        return "is gone or has lost its program"
    return "has no carrier" if port.enabled else "is administratively down"


@RULES.rule(
    "forwarding-off",
    "The kernel does not forward.",
    "`sysctl -w net.ipv4.ip_forward=1`, and find out who switched it off",
)
def _forwarding_off(facts: Facts) -> str | None:
    return "net.ipv4.ip_forward is 0" if not facts.forwarding else None


@RULES.rule(
    "host-link-gone",
    "The tenant's link to the kernel is not whole: what the kernel has to answer, resolve or refuse is lost.",
    "the gateway puts it back by itself: take away what keeps it from doing so; its log has the same",
)
def _host_link_gone(facts: Facts) -> str | None:
    return facts.link_fault
