"""Which gateway a command is about, how its answer is printed, and how one session is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from wayleave.cli import client, terminal
from wayleave.cli.client import DEFAULT_CONFIG, ApiError


@Parameter(name="*")
class Target:
    """Which gateway, and how to print.

    Parameters
    ----------
    config
        The gateway's configuration file; /etc/wayleave/bng.toml unless it is said.
    socket
        Its API socket, instead of the one the configuration names.
    as_json
        Print JSON.
    """

    def __init__(
        self,
        config: Path | None = None,
        socket: str | None = None,
        as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    ) -> None:
        self.given, self.socket, self.as_json = config, socket, as_json
        self.config = config or DEFAULT_CONFIG
        self.indent: int | None = 2

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        return client.call(self.where, method, path, body, (), client.TIMEOUT_S, **query)

    def stream(self, method: str, path: str, **query: object) -> AbstractContextManager[Iterator[bytes]]:
        """The pieces of an answer as they come."""
        return client.stream(self.where, method, path, **query)

    def ask(self, path: str) -> Any:
        """GET what also answers when it says no."""
        return client.call(self.where, "GET", path, refused=(503,))

    def change(self, method: str, path: str, body: bytes | None = None, **query: object) -> Any:
        """Have a configuration planned or reloaded; a refusal is an answer."""
        return client.call(self.where, method, path, body, refused=(409,), timeout_s=600.0, **query)

    def end(self, sessions: bool) -> Any:
        """Have the process stop; `sessions`: they end first, for which disk and servers are given time."""
        return client.call(self.where, "POST", "/stop", timeout_s=60.0, end_sessions="true" if sessions else None)

    def process(self) -> int:
        """The gateway's process id, as the kernel knows whose socket it is. Raises: ApiError."""
        return client.process_of(self.where)

    @property
    def where(self) -> str:
        """The API's socket."""
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

    def print(
        self, value: Any, columns: Sequence[str], rows: Iterable[Sequence[object]], spare: Sequence[str] = ()
    ) -> None:
        """Print `value` as JSON if asked to, else a table."""
        if self.as_json:
            terminal.document(value, self.indent)
        else:
            terminal.table(columns, rows, spare)


def is_mac(text: str) -> bool:
    """Whether it is written as a MAC is."""
    return text.count(":") == 5 or text.count("-") == 5


def _sessions_of(target: Target, which: str) -> tuple[str, list[dict[str, Any]]]:
    """What `which` is (mac, address or subscriber), and its one session, if it has one. Raises: ApiError."""
    key = "mac" if is_mac(which) else "address" if which.count(".") == 3 else "subscriber"
    found, _ = target.sessions(2, **{key: which})
    if len(found) > 1:
        raise ApiError(f"more than one session has {key} {which}: say its id; `bng show sessions --{key} {which}`")
    return key, found


def _perhaps_line(which: str) -> str:
    """Say how to ask for a line, if this is one."""
    from wayleave.session.model import Line

    try:
        Line.parse(which)
    except ValueError:
        return ""
    return f": that is a line; `bng show sessions --line {which}` lists who is on it"


def find_id(target: Target, which: str) -> int | None:
    """The id of the one session of this id, address, MAC or subscriber; None: no client has that address.

    Raises: ApiError.
    """
    if which.isdigit():
        return int(which)
    key, found = _sessions_of(target, which)
    if not found and key != "address":
        raise ApiError(f"there is no session with {key} {which}{_perhaps_line(which)}")
    return int(found[0]["id"]) if found else None


def find(target: Target, which: str) -> dict[str, Any]:
    """Find one session by id, address, MAC or subscriber. Raises: ApiError."""
    id_ = find_id(target, which)
    if id_ is None:
        raise ApiError(f"there is no session with address {which}")
    return dict(target.call("GET", f"/sessions/{id_}"))


def whom(target: Target, which: str) -> dict[str, str]:
    """Name a client that may have a session or none, for the API. Raises: ApiError."""
    if which.isdigit():
        return {"session": which}
    key, found = _sessions_of(target, which)
    if found:
        return {"session": str(found[0]["id"])}
    if key == "address":
        raise ApiError(f"no client has {which}: say its MAC or its subscriber's name")
    return {key: which}
