"""IPv4 addresses and networks as operators write them, refused in words that say how to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_ADDRESS = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"


def parse_address(text: object) -> IPv4Address:
    """Read `100.64.0.1`. Raises: ValueError with what was expected."""
    if isinstance(text, IPv4Address):
        return text
    try:
        return IPv4Address(text if isinstance(text, str) else "")
    except ValueError:
        raise ValueError(f"{_shown(text)} is not an IPv4 address: write it as 100.64.0.2") from None


def parse_network(text: object) -> IPv4Network:
    """Read `100.64.0.0/22`. Raises: ValueError with what was expected."""
    if isinstance(text, IPv4Network):
        return text
    try:
        network = IPv4Network(text if isinstance(text, str) and "/" in text else "", strict=False)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not an IPv4 network: write it as 100.64.0.0/22") from None
    if str(network.network_address) != str(text).partition("/")[0]:
        raise ValueError(f"{_shown(text)} is an address inside a network: the network is {network}")
    return network


def _shown(text: object) -> str:
    return f"{text!r}, an IPv6 one," if isinstance(text, str) and ":" in text else repr(text)


Address4 = Annotated[
    IPv4Address,
    BeforeValidator(parse_address),
    WithJsonSchema({"type": "string", "format": "ipv4", "pattern": f"^{_ADDRESS}$"}),
]
Network4 = Annotated[
    IPv4Network,
    BeforeValidator(parse_network),
    WithJsonSchema({"type": "string", "format": "ipv4network", "pattern": f"^{_ADDRESS}/[0-9]{{1,2}}$"}),
]
