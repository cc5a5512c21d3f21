"""Configuration of what a gateway asks elsewhere: where Nexus is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Annotated

from msgspec import Struct
from pydantic import AfterValidator, Field, WithJsonSchema

from wayleave.session.settings import NEEDS_RESTART, Leaf, Problem, Rule

_SERVER = re.compile(r"https://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(?::([0-9]{1,5}))?/?")
_HTTPS = 443


class Server(Struct, frozen=True):
    """Where something is asked by HTTPS; its certificate has to be of `host`."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Server:
        """Read `https://HOST:PORT`. Raises: ValueError with what was expected."""
        if text.startswith("http:"):
            raise ValueError(f'"{text}" would be asked in the clear, by anybody: write https://')
        match = _SERVER.fullmatch(text)
        if match is None:
            raise ValueError(
                f'"{text}" is no server: write https://HOST:PORT, IPv6 in brackets: https://[2001:db8::1]:7443'
            )
        host, port = match[1].strip("[]"), int(match[2] or _HTTPS)
        if any(not 0 < len(label) < 64 for label in host.rstrip(".").split(".")) and ":" not in host:
            raise ValueError(f"{host} is no name of a host: a label of it is empty, or longer than 63 characters")
        if ":" in match[1][1:]:
            try:
                host = str(IPv6Address(host))
            except AddressValueError:
                raise ValueError(f"{host} is no IPv6 address") from None
        if not 1 <= port <= 65535:
            raise ValueError(f"{port} is no port: there are 1 to 65535")
        return cls(host, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


def _server(text: str) -> str:
    Server.parse(text)
    return text


ServerText = Annotated[
    str,
    AfterValidator(_server),
    WithJsonSchema({"type": "string", "pattern": f"^{_SERVER.pattern}$", "examples": ["https://[2001:db8::1]:7443"]}),
]


class NexusSettings(Leaf):
    """Nexus, which many gateways share their pools through: where it is, and who this gateway is to it."""

    RESTART = NEEDS_RESTART

    servers: tuple[ServerText, ...] = Field(
        min_length=1,
        max_length=8,
        description="those of one Nexus: one is asked until it does not answer, then the next",
    )
    certificate: str = Field(
        min_length=1,
        description="path of this gateway's certificate, PEM, relative to this file; its CN is the gateway's name",
    )
    key: str = Field(min_length=1, description="path of the certificate's private key, PEM, of mode 600")
    ca: str = Field(min_length=1, description="path of the CA that the servers' certificates are of, PEM")

    @property
    def ends(self) -> tuple[Server, ...]:
        """The servers, as they are connected to."""
        return tuple(map(Server.parse, self.servers))

    def pem(self, folder: Path) -> tuple[Path, Path, Path]:
        """Certificate, key and CA; `folder` is what their paths are relative to."""
        return folder / self.certificate, folder / self.key, folder / self.ca

    def rules(self) -> tuple[Rule, ...]:
        return (self._named_once,)

    def _named_once(self) -> Iterator[Problem]:
        first: set[Server] = set()
        for text, end in zip(self.servers, self.ends, strict=True):
            if end in first:
                yield "servers", f"{text} is there twice: leave one out"
            first.add(end)
