"""Configuration of Nexus: the file that `nexus serve --config FILE` reads."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema

from wayleave.net.duration import parse_duration
from wayleave.net.units import SECOND, Ns
from wayleave.session.partial import partial
from wayleave.session.settings import Duration, Leaf, Problem, Rule, contradictions
from wayleave.session.wording import Places, what

SQLITE = "sqlite:"


class SettingsError(Exception):
    """The file cannot be used. `problems` is one line each: FILE: path: what is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _endpoint(text: str) -> str:
    where = _ENDPOINT.fullmatch(text)
    if where is None or not 0 < int(where["port"]) < 1 << 16:
        raise ValueError(f'"{text}" is no address with a port: write 192.0.2.1:7443 or [2001:db8::1]:7443')
    return text


_ENDPOINT = re.compile(r"(\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Return what `192.0.2.1:7443` names; the brackets of an IPv6 address are none of it."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _sqlite(text: str) -> str:
    if not text.startswith(SQLITE) or len(text) == len(SQLITE):
        raise ValueError(f'"{text}" is no store: write "{SQLITE}PATH", or have a section [nexus.etcd]')
    return text


def _lasting(length: Ns) -> Ns:
    if length < SECOND:
        raise ValueError("must be at least 1s")
    return length


Endpoint = Annotated[
    str,
    AfterValidator(_endpoint),
    WithJsonSchema({"type": "string", "pattern": f"^{_ENDPOINT.pattern}$", "examples": ["192.0.2.1:7443"]}),
]
Lasting = Annotated[Duration, AfterValidator(_lasting)]


class _Section(Leaf):
    RESTART = "needs a restart, which gateways do not notice"


class EtcdSettings(_Section):
    """The etcd that a cluster of Nexus keeps its state in; it is Nexus's alone."""

    endpoints: tuple[Endpoint, ...] = Field(min_length=1, description="its members, as in their certificates")
    certificate: str = Field(description="path of the certificate that they are shown, PEM, relative to this file")
    key: str = Field(description="path of its private key, PEM")
    ca: str = Field(description="path of the CA that their certificates are of, PEM")


class LimitSettings(_Section):
    """How often one client may ask."""

    rate: int = Field(default=50, ge=1, le=100_000, description="requests a second, each client")
    burst: int = Field(default=200, ge=1, le=1_000_000, description="requests at once, after a pause")


class NexusSettings(_Section):
    """The coordination service."""

    listen: Endpoint = Field(default="0.0.0.0:7443", description="where gateways and operators ask, over TLS")
    local: Endpoint = Field(
        default="127.0.0.1:7444", description="where /healthz, /readyz and /metrics are, without TLS: keep it local"
    )
    certificate: str = Field(description="path of the server's certificate, PEM, relative to this file")
    key: str = Field(description="path of its private key, PEM")
    ca: str = Field(description="path of the CA that clients' certificates are of, PEM")
    store: Annotated[str, AfterValidator(_sqlite)] | None = Field(
        default=None, description=f'"{SQLITE}PATH", relative to this file; absent: etcd'
    )
    etcd: EtcdSettings | None = None
    hold: Lasting = Field(default=parse_duration("24h"), description="how long a gateway's hold lasts, once renewed")
    grace: Duration = Field(default=parse_duration("10m"), description="how much longer its blocks stay its own")
    limits: LimitSettings = LimitSettings()

    def rules(self) -> tuple[Rule, ...]:
        return (self._one_store,)

    def _one_store(self) -> Iterator[Problem]:
        if (self.store is None) == (self.etcd is None):
            yield "store", f'say one of store = "{SQLITE}PATH" and a section [nexus.etcd]'


class LogSettings(_Section):
    """What is logged, on standard error."""

    level: Literal["info", "warning", "error"] = Field(default="info", description="the least that is logged")


class Settings(Leaf):
    """What `nexus serve --config FILE` reads."""

    nexus: NexusSettings
    log: LogSettings = LogSettings()


def load(path: Path) -> Settings:
    """Return what the file at `path` says. Raises: SettingsError, with every problem found."""
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path}: is not TOML: octet {error.start} is not UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{path}: is not TOML: {error}"]) from None
    settings, wrong = partial(Settings, raw), list[Problem]()
    try:
        Settings.model_validate(raw)
    except ValidationError as error:
        places = Places(settings)
        wrong = [(places.where(item["loc"]), what(Settings, item)) for item in error.errors()]
    if "nexus" in raw:
        wrong += contradictions("nexus", settings.nexus)
    if wrong:
        raise SettingsError([f"{path}: {place}: {words}" for place, words in wrong])
    return settings
