"""Configuration of ports."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Literal

from pydantic import Field, model_validator

from wayleave.session.settings import Leaf

LAST_PORT = 511
"""Port numbers above are the host links'."""


class PortSettings(Leaf):
    """A device the gateway works on."""

    number: int = Field(ge=1, le=LAST_PORT)
    device: str = Field(min_length=1, max_length=15)
    role: Literal["subscriber", "network"]
    tenant: str = "default"
    xdp: Literal["native", "generic"] = Field(default="native", description="generic is slow; only when asked for")
    trusted: bool = Field(default=False, description="an access node there writes option 82; elsewhere it is dropped")
    line: Literal["vlan", "circuit"] = Field(
        default="vlan", description="one line a VLAN (1:1), or many told apart by circuit-id (N:1)"
    )
    clients: int = Field(default=8, ge=1, description="clients on one line at once")
    at_limit: Literal["replace", "refuse"] = Field(
        default="replace", description="a full line: replace the client silent longest (over 60s), or refuse"
    )
    relays: tuple[IPv4Address, ...] = Field(default=(), description="giaddr of the relays that may ask here")

    @model_validator(mode="after")
    def _consistent(self) -> PortSettings:
        if self.line == "circuit" and not self.trusted:
            raise ValueError('line = "circuit" needs trusted = true: the circuit-id tells the lines apart')
        return self
