"""Configuration of ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from wayleave.net.ipv4 import Address4
from wayleave.session.settings import AT_START, Leaf, Problem, Rule

LAST_PORT = 511
"""Port numbers above are the host links'."""


_DEVICE = re.compile(r"[^\s/]{1,15}")


def parse_device(text: object) -> str:
    """Read the name of a network device. Raises: ValueError with what was expected."""
    if not isinstance(text, str) or not _DEVICE.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"{text!r} is no device's name: 1 to 15 characters, no space and no `/`, such as eth1")
    return text


DeviceText = Annotated[
    str,
    BeforeValidator(parse_device),
    WithJsonSchema({"type": "string", "pattern": f"^{_DEVICE.pattern}$", "examples": ["eth1"]}),
]


class PortSettings(Leaf):
    """A device the gateway works on."""

    KNOWN_BY = ("number",)

    number: int = Field(ge=1, le=LAST_PORT)
    device: DeviceText = Field(json_schema_extra=AT_START)
    role: Literal["subscriber", "network"] = Field(json_schema_extra=AT_START)
    tenant: str = Field(default="default", json_schema_extra=AT_START)
    xdp: Literal["native", "generic"] = Field(
        default="native", description="generic is slow; only when asked for", json_schema_extra=AT_START
    )
    trusted: bool = Field(default=False, description="an access node there writes option 82; elsewhere it is dropped")
    line: Literal["vlan", "circuit"] = Field(
        default="vlan",
        description="one line a VLAN (1:1), or many told apart by circuit-id (N:1)",
        json_schema_extra=AT_START,
    )
    clients: int = Field(default=8, ge=1, description="clients on one line at once")
    at_limit: Literal["replace", "refuse"] = Field(
        default="replace", description="a full line: replace the client silent longest (over 60s), or refuse"
    )
    relays: tuple[Address4, ...] = Field(default=(), description="giaddr of the relays that may ask here")

    def rules(self) -> tuple[Rule, ...]:
        return (self._circuit_believed,)

    def _circuit_believed(self) -> Iterator[Problem]:
        if self.line == "circuit" and not self.trusted:
            yield "line", '"circuit" needs trusted = true: the circuit-id tells the lines apart'
