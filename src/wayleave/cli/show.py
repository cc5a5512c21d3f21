"""`bng show`: look at a running gateway."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Annotated, Any

from cyclopts import App, Parameter

from wayleave import __version__
from wayleave.cli.client import ApiError
from wayleave.cli.refusal import from_one
from wayleave.cli.target import find, is_mac
from wayleave.cli.terminal import remark, say, table
from wayleave.cli.watch import View, watched
from wayleave.cli.words import age, lines

show = App(name="show", help="Look at a running gateway.")

_SESSION_COLUMNS = ("id", "address", "mac", "line", "phase", "pool", "subscriber", "lease", "seen", "hostname")
_SPARE = ("hostname", "pool", "subscriber", "phase", "lease", "seen")
"""Where it is narrow, the first are left out first."""


@show.command
@watched
def sessions(
    *,
    mac: str | None = None,
    line: str | None = None,
    address: str | None = None,
    phase: str | None = None,
    pool: str | None = None,
    tenant: str | None = None,
    subscriber: str | None = None,
    limit: Annotated[int, Parameter(validator=from_one)] = 100,
    target: View | None = None,
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
    target = target or View()
    wanted = {"mac": mac, "line": line, "address": address, "phase": phase, "pool": pool, "tenant": tenant}
    wanted["subscriber"] = subscriber
    found, more = target.sessions(limit, **wanted)
    rows = (dict(lines(item)) for item in found)
    target.print(found, _SESSION_COLUMNS, ([row[key] for key in _SESSION_COLUMNS] for row in rows), _SPARE)
    if more:
        remark(f"there are more than these {limit}: say --limit")
    elif not found:
        remark("there is no such session" if any(wanted.values()) else "there is no session")
    return 0


@show.command(name="session")
@watched
def one_session(
    which: str, /, *, journal: Annotated[bool, Parameter(negative=())] = False, target: View | None = None
) -> int:
    """Show one session and its counters.

    Parameters
    ----------
    which
        Its id, address, MAC or subscriber.
    journal
        Also what happened to it, and what was dropped of it.
    """
    target = target or View()
    found = find(target, which)
    usage = found.get("usage") or {}
    rows = [*lines({key: value for key, value in found.items() if key != "usage"}), *usage.items()]
    happened = target.call("GET", f"/sessions/{found['id']}/journal")["entries"] if journal else []
    target.print(found | {"journal": happened} if journal else found, ("", ""), rows)
    if journal and not target.as_json:
        say()
        _tell(happened)
    return 0


@show.command(name="journal")
@watched
def one_journal(which: str, /, *, target: View | None = None) -> int:
    """Show what happened to a client, also if it has no session, and what was dropped of it.

    Parameters
    ----------
    which
        Its MAC; of a client with a session, also the session's id, its address or subscriber.
    """
    target = target or View()
    if is_mac(which):
        ids = [item["id"] for item in target.sessions(100, mac=which)[0]]
    else:
        ids = [find(target, which)["id"]]
    found = [target.call("GET", f"/sessions/{id_}/journal") for id_ in ids]
    if is_mac(which):
        strangers = target.call("GET", "/journals", mac=which)
        found += strangers["journals"]
        if strangers["left_out"]:
            remark(f"{which} was heard of on {strangers['left_out']} more lines; these are the last")
    if not found:
        raise ApiError(f"nothing was heard of {which} lately")
    if target.as_json:
        target.print(found, (), ())
        return 0
    for item in found:
        session = f"session {item['session']}" if item["session"] is not None else "no session"
        say(f"{item['client']}, {session}")
        _tell(item["entries"])
    return 0


def _tell(entries: Iterable[dict[str, Any]]) -> None:
    rows = [(age(item["ago_s"]), item["what"], _counted(item)) for item in entries]
    table(("ago", "what", ""), rows)


def _counted(entry: dict[str, Any]) -> str:
    return str(entry["says"]) if entry["count"] is None else f"{entry['count']} or more: {entry['says']}"


@show.command
@watched
def drops(*, every: Annotated[bool, Parameter(name="--all", negative=())] = False, target: View | None = None) -> int:
    """Packets dropped, by reason, since the tables were made; `dhcp4:`, `pppoe:`: what Python ignored since it started.

    Parameters
    ----------
    every
        Also the reasons that never occurred.
    """
    target = target or View()
    found = target.call("GET", "/drops")
    shown: dict[str, int] = {reason: count for reason, count in found.items() if count or every}
    ordered = sorted(shown, key=lambda reason: shown[reason], reverse=True)
    target.print(shown, ("reason", "packets"), ((reason, shown[reason]) for reason in ordered))
    if not shown:
        remark("nothing was dropped; --all lists every reason")
    return 0


@show.command
@watched
def dhcp(*, target: View | None = None) -> int:
    """Who answers DHCP: the data plane by itself, or Python; and why what went up to Python did."""
    target = target or View()
    found = target.call("GET", "/dhcp")
    kernel = [(f"answered: {kind}", count) for kind, count in found["kernel"].items()]
    kernel += [(f"left to Python: {why}", count) for why, count in found["up"].items() if count]
    python = [(f"answered: {kind}", count) for kind, count in found["python"].items()]
    python += [(f"ignored: {why}", count) for why, count in found["ignored"].items()]
    heading = "the data plane, since its tables were made"
    target.print(found, (heading, "messages"), [*kernel, ("standing replies in use", found["replies"])])
    if not target.as_json:
        say()
        table((f"Python, since it started {age(found['python_s'])} ago", "messages"), python)
    return 0


@show.command
@watched
def pppoe(*, target: View | None = None) -> int:
    """What was said in PPPoE: sessions, discovery, PPP's protocols, and why what was not answered was not."""
    target = target or View()
    found = target.call("GET", "/pppoe")
    rows = [("sessions", found["sessions"]), ("dialing", found["dialing"])]
    rows += [(f"{group}: {name}", count) for group in _TOLD_OF_PPPOE for name, count in found[group].items()]
    target.print(found, (f"Python, since it started {age(found['python_s'])} ago", ""), rows)
    return 0


_TOLD_OF_PPPOE = ("heard", "said", "ignored", "ended")


@show.command
@watched
def punt(*, target: View | None = None) -> int:
    """What came up to Python, or was kept from it, by class; and what waits in the ring."""
    target = target or View()
    found = target.call("GET", "/punt")
    rows = [(f"{class_}: {result}", count) for class_, row in found["classes"].items() for result, count in row.items()]
    waiting = ("octets waiting in the ring", f"{found['ring_waiting']} of {found['ring_size']}")
    target.print(found, ("", "messages"), [*rows, waiting])
    return 0


@show.command
@watched
def version(*, target: View | None = None) -> int:
    """The versions of this command and of the running gateway, and whether that is ready."""
    target = target or View()
    running, ready = target.call("GET", "/healthz"), target.ask("/readyz")
    found = {"command": __version__, "gateway": running["version"], "ready": ready["ready"], "why_not": ready["why"]}
    rows = [*found.items()][:3] + [("why not", why) for why in ready["why"]]
    target.print(found, ("", ""), rows)
    return 0


@show.command
@watched
def radius(*, target: View | None = None) -> int:
    """How the RADIUS servers do, since the gateway started; what is accounted and waits; what controllers asked for."""
    target = target or View()
    found = target.call("GET", "/radius")
    if target.as_json:
        target.print(found, (), ())
        return 0
    if not found["servers"]:
        remark("no RADIUS group is configured: the gateway itself decides")
        return 0
    table(_SERVER_COLUMNS, map(_server, found["servers"]), _SERVER_SPARE)
    say()
    table(("server", "for", "answer", "count"), (row for item in found["servers"] for row in _answers(item)))
    say()
    columns = ("accounted to", "waiting", "in memory", "oldest", "acknowledged")
    backlogs = [
        (item["group"], item["waiting"], item["in_memory"], age(item["oldest_s"]), item["acknowledged"])
        for item in found["backlogs"]
    ]
    table(columns, backlogs)
    say()
    rows = [(f"{item['group']}, {item['purpose']}: clients or records that wait to be sent", item["waiting"])
            for item in found["queues"] if item["waiting"]]  # fmt: skip
    rows += [(f"controllers: {what}", count) for what, count in found["controllers"].items()]
    rows += [("rejected, and not asked about again yet", found["rejected"])]
    rows += [("served by what was granted last, as no server could be asked", found["provisional"])]
    table(("", ""), rows)
    for item in found["servers"]:
        if item["hint"]:
            for line in textwrap.wrap(
                f"{item['server']}, {item['purpose']}: {item['hint']}", 80, subsequent_indent="  "
            ):
                say(line)
    return 0


_SERVER_COLUMNS = ("group", "server", "for", "state", "open", "sent", "again", "lost", "mean", "p95")
_SERVER_SPARE = ("group", "p95", "again")


def _server(item: dict[str, Any]) -> list[object]:
    """A row of it. Latencies are in milliseconds."""
    state = "alive" if item["alive"] else f"dead {age(item['dead_s']) or ''}".rstrip()
    counts = [item[key] for key in ("in_flight", "requests", "repeated", "timeouts")]
    mean, p95 = (None if item[key] is None else f"{item[key]:g}ms" for key in ("mean_ms", "p95_ms"))
    return [item["group"], item["server"], item["purpose"], state, *counts, mean, p95]


def _answers(item: dict[str, Any]) -> Iterable[tuple[object, ...]]:
    who = item["server"], item["purpose"]
    yield from ((*who, kind, count) for kind, count in item["answers"].items())
    yield from ((*who, f"not believed: {why}", count) for why, count in item["doubts"].items())


@show.command
@watched
def pools(*, target: View | None = None) -> int:
    """How full the pools are."""
    target = target or View()
    found = target.call("GET", "/pools")
    columns = ("name", "tenant", "network", "gateway", "size", "held", "quarantined")
    target.print(found, columns, ([item[key] for key in columns] for item in found))
    return 0


@show.command
@watched
def nexus(*, target: View | None = None) -> int:
    """Whether Nexus answers, what blocks it leases to this gateway, and how long they last without it."""
    target = target or View()
    found = target.call("GET", "/nexus")
    if target.as_json:
        target.print(found, (), ())
        return 0
    answers = "answers" if not found["why"] else f"does not answer: {found['why']}"
    rows = [
        (found["server"], f"{answers}, for {age(found['since_s'])}"),
        ("epoch", found["epoch"] or "none: Nexus has leased nothing yet"),
        ("its blocks last, without Nexus", age(found["hold_s"]) if found["hold_s"] else "no longer: they are over"),
    ]
    if found["waiting"]:
        rows.append(("sessions that wait for Nexus to confirm their blocks", found["waiting"]))
    table(("", ""), rows)
    say()
    columns = ("pool", "blocks", "size", "held", "spare", "reserve", "lasts")
    shares = [
        (item["pool"], len(item["blocks"]), *(item[key] for key in columns[2:6]), age(item["lasts_s"]))
        for item in found["shares"]
    ]
    table(columns, shares)
    say()
    blocks = [
        (item["pool"], block["first"], block["last"], block["fence"])
        for item in found["shares"]
        for block in item["blocks"]
    ]
    table(("pool", "first", "last", "fence"), blocks)
    for text in found["faults"]:
        remark(text)
    for name, why in found["out_of_place"].items():
        remark(f"subscriber {name} does not count here: {why}")
    return 0


@show.command
@watched
def ports(*, target: View | None = None) -> int:
    """The ports: their devices' state, how the program is attached (`no`: it is not), how many sessions are there."""
    target = target or View()
    found = target.call("GET", "/ports")
    columns = ("port", "device", "role", "tenant", "state", "program", "sessions")
    target.print(
        found,
        columns,
        ([item["number"], *(item[key] for key in columns[1:5]), item["program"] or "no", item["sessions"]]
         for item in found),
    )  # fmt: skip
    return 0


@show.command
@watched
def counters(*, target: View | None = None) -> int:
    """Everything that is counted: packets by stage and outcome, punts by class, what clients said and were told."""
    target = target or View()
    found = target.call("GET", "/counters")
    target.print(found, ("counter", "value"), _flatten("", found))
    return 0


def _flatten(prefix: str, value: Any) -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else key, item)
    else:
        yield prefix, value
