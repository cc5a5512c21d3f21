"""A device of the gateway's that is deleted and made anew under the same name, as a card that is exchanged."""

from __future__ import annotations

from collections.abc import Callable

from wayleave.lab.topology import GATEWAY_ACCESS_MAC, GATEWAY_CORE_MAC, Lab


def replug_core(lab: Lab, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Delete the device to the router, and make it anew under the same name; `meanwhile` happens in between."""
    gateway, router = lab.gateway.namespace, lab.router.namespace
    before = gateway.ifindex("core0")
    gateway.ip("link del core0")
    meanwhile()
    gateway.ip(f"link add name core0 address {GATEWAY_CORE_MAC} type veth peer name gw0 netns {router.name}")
    for space, device in ((gateway, "core0"), (router, "gw0")):
        space.offloads(device)
        space.ip(f"link set {device} up")
    router.ip(f"addr add {lab.router_address}/30 dev gw0", *(f"route add {net} via {lab.core.ip}" for net in lab.pools))
    lab.access_node.attach("pass", router, "gw0")
    gateway.ip(f"addr add {lab.core} dev core0", f"route add default via {lab.router_address}")
    assert gateway.ifindex("core0") != before


def replug_access(lab: Lab, meanwhile: Callable[[], None] = lambda: None) -> None:
    """The same with the device to the access node; the access node's own end keeps its index, which it goes by."""
    gateway, node = lab.gateway.namespace, lab.access_node.namespace
    before, trunk = gateway.ifindex("acc0"), node.ifindex("trunk")
    gateway.ip("link del acc0")
    meanwhile()
    node.ip(f"link add name trunk index {trunk} mtu {lab.access_mtu} type veth peer name acc0 netns {gateway.name}")
    node.offloads("trunk")
    node.ip("link set trunk up")
    lab.access_node.attach("downstream", node, "trunk")
    gateway.offloads("acc0")
    gateway.ip(f"link set acc0 address {GATEWAY_ACCESS_MAC} mtu {lab.access_mtu} up")
    assert gateway.ifindex("acc0") != before
