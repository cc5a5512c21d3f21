"""`bng`: run a gateway, look at it, and check its configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators

from wayleave import __version__
from wayleave.cli import client
from wayleave.cli.client import DEFAULT_CONFIG, ApiError

app = App(name="bng", help="A broadband network gateway.", version=__version__)
show = App(name="show", help="Look at a running gateway.")
clear = App(name="clear", help="End what is running.")
app.command(show)
app.command(clear)


@Parameter(name="*")
class Target:
    """Which gateway, and how to print.

    Parameters
    ----------
    config
        The gateway's configuration file.
    socket
        Its API socket, instead of the one the configuration names.
    as_json
        Print JSON.
    """

    def __init__(
        self,
        config: Path = DEFAULT_CONFIG,
        socket: str | None = None,
        as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    ) -> None:
        self.config, self.socket, self.as_json = config, socket, as_json

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        return client.call(self._where, method, path, body, (), **query)

    def ask(self, path: str) -> Any:
        """GET what also answers when it says no."""
        return client.call(self._where, "GET", path, refused=(503,))

    @property
    def _where(self) -> str:
        return self.socket or client.socket_of(self.config)

    def sessions(self, limit: int, **wanted: str | None) -> tuple[list[dict[str, Any]], bool]:
        """Find at most `limit` sessions, and tell whether there are more: the gateway looks at a part a call."""
        found: list[dict[str, Any]] = []
        after: int | None = -1
        while after is not None and len(found) <= limit:
            page = self.call("GET", "/sessions", after=after, limit=limit + 1 - len(found), **wanted)
            found += page["sessions"]
            after = page["after"]
        return found[:limit], len(found) > limit

    def print(self, value: Any, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print `value` as JSON if asked to, else a table."""
        if self.as_json:
            print(json.dumps(value, indent=2))
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*("-" if cell is None else str(cell) for cell in row))
        Console(width=None if sys.stdout.isatty() else 250).print(table)


@app.command
def run(*, config: Path = DEFAULT_CONFIG) -> int:
    """Be the gateway, on real ports.

    Parameters
    ----------
    config
        The configuration file.
    """
    from wayleave.daemon.main import main as run_gateway

    return run_gateway(config)


@app.command
def check(file: Path | None = None, /, *, config: Path = DEFAULT_CONFIG) -> int:
    """Say everything that is wrong with a configuration, without touching anything.

    Parameters
    ----------
    file
        The configuration file; --config says the same.
    config
        The configuration file.
    """
    from wayleave.config.load import ConfigurationError, load

    config = file or config
    try:
        settings, subscribers = load(config)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        print(f"{len(error.problems)} problem{'s' if len(error.problems) > 1 else ''}", file=sys.stderr)
        return 2
    print(f"{config}: good: {len(settings.ports)} ports, {len(settings.pools)} pools, {len(subscribers)} subscribers")
    return 0


@app.command
def schema(file: Literal["gateway", "subscribers"] = "gateway", /) -> int:
    """Print the JSON Schema of a configuration file, for an editor that knows TOML.

    Parameters
    ----------
    file
        Which file it describes: the gateway's, or that of its subscribers.
    """
    from wayleave.config.jsonschema import schema as schema_of

    print(json.dumps(schema_of(file), indent=2))
    return 0


@app.command
def doctor(*, config: Path = DEFAULT_CONFIG) -> int:
    """Say what the machine lacks for a configuration, each with its cure; touches nothing.

    Parameters
    ----------
    config
        The configuration file.
    """
    from wayleave.config.load import ConfigurationError, load
    from wayleave.daemon.doctor import Level, examine

    try:
        settings, _ = load(config)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    worst = 0
    for finding in examine(settings):
        cure = f": {finding.cure}" if finding.cure else ""
        print(f"{finding.level.value:8} {finding.what}: {finding.says}{cure}")
        worst = max(worst, int(finding.level is Level.BAD))
    return worst


@app.command
def detach(*, config: Path = DEFAULT_CONFIG) -> int:
    """Take a stopped gateway's data plane off its ports: what it forwards ends.

    Parameters
    ----------
    config
        The configuration file.
    """
    from wayleave.config.load import ConfigurationError, load
    from wayleave.dataplane.plane import remove_pins
    from wayleave.io import hostlink
    from wayleave.io.devices import DeviceError
    from wayleave.io.store import StoreError, only_one

    try:
        settings, _ = load(config)
        folder = Path(settings.gateway.state)
        if folder.exists():
            only_one(folder)
        removed = remove_pins(settings.gateway.name)
        absent = [tenant.name for tenant in settings.tenants if not hostlink.remove(tenant.name)]
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except StoreError as error:
        print(f"bng: {error} Stop it first.", file=sys.stderr)
        return 1
    except DeviceError as error:
        print(f"bng: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bng: {error.filename}: {error.strerror}: detach has to be root", file=sys.stderr)
        return 1
    print("detached" if removed else "nothing was attached")
    for tenant in absent if removed else ():
        kernel, _ = hostlink.names(tenant)
        print(f"the host link {kernel} is not here: did the gateway run in another network namespace? It is left there")
    return 0


_SESSION_COLUMNS = ("id", "address", "mac", "line", "phase", "pool", "subscriber", "lease_s", "seen_s", "hostname")


@show.command
def sessions(
    *,
    mac: str | None = None,
    line: str | None = None,
    address: str | None = None,
    phase: str | None = None,
    pool: str | None = None,
    tenant: str | None = None,
    subscriber: str | None = None,
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 100,
    target: Target | None = None,
) -> int:
    """List sessions.

    Parameters
    ----------
    mac
        Only this MAC.
    line
        Only this line, `PORT:S.C`, or all lines that begin so.
    address
        Only this address.
    phase
        Only in this phase: active, offered, …
    pool
        Only of this pool.
    tenant
        Only of this tenant.
    subscriber
        Only this subscriber of the subscribers file.
    limit
        At most so many.
    """
    target = target or Target()
    wanted = {"mac": mac, "line": line, "address": address, "phase": phase, "pool": pool, "tenant": tenant}
    wanted["subscriber"] = subscriber
    found, more = target.sessions(limit, **wanted)
    target.print(found, _SESSION_COLUMNS, ([item[key] for key in _SESSION_COLUMNS] for item in found))
    if more:
        _remark(f"there are more than these {limit}: say --limit")
    elif not found:
        _remark("there is no such session" if any(wanted.values()) else "there is no session")
    return 0


def _remark(words: str) -> None:
    """Say something beside what was asked for; a table or JSON stays clean."""
    print(f"bng: {words}", file=sys.stderr)


def _find_id(target: Target, which: str) -> int | None:
    """The id of the one session of this id, address or MAC; None: no client has that address. Raises: ApiError."""
    if which.isdigit():
        return int(which)
    key = "mac" if which.count(":") == 5 or which.count("-") == 5 else "address"
    found, _ = target.sessions(2, **{key: which})
    if not found and key == "mac":
        raise ApiError(f"there is no session with mac {which}")
    if len(found) > 1:
        raise ApiError(f"more than one session has {key} {which}: say its id; `bng show sessions --{key} {which}`")
    return int(found[0]["id"]) if found else None


def _find(target: Target, which: str) -> dict[str, Any]:
    """Find one session by id, address or MAC. Raises: ApiError."""
    id_ = _find_id(target, which)
    if id_ is None:
        raise ApiError(f"there is no session with address {which}")
    return dict(target.call("GET", f"/sessions/{id_}"))


@show.command(name="session")
def one_session(which: str, /, *, target: Target | None = None) -> int:
    """Show one session and its counters.

    Parameters
    ----------
    which
        Its id, address or MAC.
    """
    target = target or Target()
    found = _find(target, which)
    usage = found.get("usage") or {}
    rows = [(key, value) for key, value in found.items() if key != "usage"] + list(usage.items())
    target.print(found, ("", ""), rows)
    return 0


@app.command
def explain(
    *words: str,
    hex_: Annotated[str | None, Parameter(name="--hex")] = None,
    pcap: Path | None = None,
    packet: int = 1,
    port: int | None = None,
    target: Target | None = None,
) -> int:
    """Say what the data plane would do with a packet, and why; nothing is sent, counted or remembered.

    The packet in words: `udp from 100.64.0.2 to 1.1.1.1:53`, `icmp from 02:00:00:00:00:01 to 100.64.0.1`, `tcp from
    192.0.2.9:80 to 100.64.0.2:40000`. Who it is from is a client (its session's id, address or MAC); an address that no
    client has is the network's.

    Parameters
    ----------
    words
        The packet in words.
    hex_
        Instead of words, a whole Ethernet frame in hexadecimal; needs --port.
    pcap
        Instead of words, a file of captured frames; needs --port.
    packet
        Which frame of the file, counted from 1.
    port
        The number of the port it comes in by.
    """
    from wayleave.cli import explain as asking

    target = target or Target()
    if (bool(words), hex_ is not None, pcap is not None).count(True) > 1:
        raise ApiError("say one packet: in words, or with --hex, or with --pcap")
    question: dict[str, object] = {"frame": hex_, "port": port}
    if pcap is not None:
        question["frame"] = asking.frame_of(pcap, packet).hex()
    elif hex_ is None:
        question = asking.question(words, port, lambda which: _find_id(target, which))
    found = target.call("POST", "/explain", question)
    target.print(found, ("", ""), asking.rows(found))
    return 0


@clear.command(name="session")
def clear_session(which: str, /, *, target: Target | None = None) -> int:
    """End one session: its address is free again, its client has to ask anew.

    Parameters
    ----------
    which
        Its id, address or MAC.
    """
    target = target or Target()
    found = _find(target, which)
    target.call("DELETE", f"/sessions/{found['id']}")
    print(f"cleared session {found['id']}: {found['client']} {found['address'] or ''}")
    return 0


@show.command
def drops(*, every: Annotated[bool, Parameter(name="--all", negative=())] = False, target: Target | None = None) -> int:
    """Packets dropped, by reason; `dhcp4:` where Python took no notice of one.

    Parameters
    ----------
    every
        Also the reasons that never occurred.
    """
    target = target or Target()
    found = target.call("GET", "/drops")
    shown: dict[str, int] = {reason: count for reason, count in found.items() if count or every}
    ordered = sorted(shown, key=lambda reason: shown[reason], reverse=True)
    target.print(shown, ("reason", "packets"), ((reason, shown[reason]) for reason in ordered))
    if not shown:
        _remark("nothing was dropped; --all lists every reason")
    return 0


@show.command
def dhcp(*, target: Target | None = None) -> int:
    """Who answers DHCP: the data plane by itself, or Python; and why what went up to Python did."""
    target = target or Target()
    found = target.call("GET", "/dhcp")
    rows = [(f"answered by {who}: {kind}", count) for who in ("kernel", "python") for kind, count in found[who].items()]
    rows += [(f"left to python: {why}", count) for why, count in found["up"].items() if count]
    rows += [(f"ignored by python: {why}", count) for why, count in found["ignored"].items()]
    target.print(found, ("", "messages"), [*rows, ("standing replies in use", found["replies"])])
    return 0


@show.command
def punt(*, target: Target | None = None) -> int:
    """What came up to Python, or was kept from it, by class; and what waits in the ring."""
    target = target or Target()
    found = target.call("GET", "/punt")
    rows = [(f"{class_}: {result}", count) for class_, row in found["classes"].items() for result, count in row.items()]
    waiting = ("octets waiting in the ring", f"{found['ring_waiting']} of {found['ring_size']}")
    target.print(found, ("", "messages"), [*rows, waiting])
    return 0


@show.command
def version(*, target: Target | None = None) -> int:
    """The versions of this command and of the running gateway, and whether that is ready."""
    target = target or Target()
    running, ready = target.call("GET", "/healthz"), target.ask("/readyz")
    found = {"command": __version__, "gateway": running["version"], "ready": ready["ready"], "why_not": ready["why"]}
    rows = [*found.items()][:3] + [("why not", why) for why in ready["why"]]
    target.print(found, ("", ""), rows)
    return 0


@show.command
def pools(*, target: Target | None = None) -> int:
    """How full the pools are."""
    target = target or Target()
    found = target.call("GET", "/pools")
    columns = ("name", "tenant", "network", "gateway", "size", "held", "quarantined")
    target.print(found, columns, ([item[key] for key in columns] for item in found))
    return 0


@show.command
def counters(*, target: Target | None = None) -> int:
    """Everything that is counted: packets by stage and outcome, punts by class, what clients said and were told."""
    target = target or Target()
    found = target.call("GET", "/counters")
    target.print(found, ("counter", "value"), _flatten("", found))
    return 0


def _flatten(prefix: str, value: Any) -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else key, item)
    else:
        yield prefix, value


def main() -> None:
    """Entry point."""
    try:
        sys.exit(app())
    except ApiError as error:
        print(f"bng: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
