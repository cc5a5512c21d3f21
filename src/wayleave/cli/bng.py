"""`bng`: run a gateway, look at it, and check its configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from wayleave import __version__
from wayleave.cli.client import DEFAULT_CONFIG, ApiError, Misused
from wayleave.cli.entry import enter
from wayleave.cli.refusal import from_one
from wayleave.cli.show import show
from wayleave.cli.target import Target, find, find_id, whom
from wayleave.cli.terminal import aside, document, refuse, say
from wayleave.cli.watch import with_seconds
from wayleave.cli.words import age, several

app = App(name="bng", help="A broadband network gateway.", version=__version__)
clear = App(name="clear", help="End what is running.")
app.command(show)
app.command(clear)


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
        settings, subscribers, _ = load(config)
    except ConfigurationError as error:
        for problem in error.problems:
            aside(problem)
        aside(several(len(error.problems), "problem"))
        return 2
    counts = ((settings.ports, "port"), (settings.pools, "pool"), (subscribers, "subscriber"))
    say(f"{config}: good: {', '.join(several(len(items), thing) for items, thing in counts)}")
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

    document(schema_of(file), 2)
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
        settings = load(config).settings
    except ConfigurationError as error:
        for problem in error.problems:
            aside(problem)
        return 2
    worst = 0
    for finding in examine(settings, config.parent):
        cure = f": {finding.cure}" if finding.cure else ""
        say(f"{finding.level.value:8} {finding.what}: {finding.says}{cure}")
        worst = max(worst, int(finding.level is Level.BAD))
    return worst


@app.command
def stop(
    *,
    keep_traffic: Annotated[bool, Parameter(negative=())] = False,
    end_sessions: Annotated[bool, Parameter(negative=())] = False,
    target: Target | None = None,
) -> int:
    """Stop a running gateway, and end what it forwards. Leases stay on disk: a new start takes them up.

    Parameters
    ----------
    keep_traffic
        Leave the data plane on the ports: customers are forwarded, and renewed, until their promises run out.
    end_sessions
        End every session first, and have accounting hear of it: no lease stays.
    """
    from wayleave.cli import stop as ending

    target = target or Target()
    if keep_traffic and end_sessions:
        raise Misused("--keep-traffic and --end-sessions contradict each other: say one of them")
    settings = None if keep_traffic else ending.settings_of_running(target)
    name, said = ending.stop(target, end_sessions)
    if end_sessions:
        waiting = several(said["unacknowledged"], "record") + " of accounting"
        say(f"{several(said['ended'], 'session')} ended, {said['left']:,} left, {waiting} not acknowledged")
    say("stopped" + (", traffic goes on" if settings is None else ""))
    return 0 if settings is None else ending.detach(settings, name)


@app.command
def detach(*, name: str | None = None, config: Path = DEFAULT_CONFIG) -> int:
    """Take a stopped gateway's data plane off its ports: what it forwards ends.

    Parameters
    ----------
    name
        The `gateway.name` that it ran under, where no configuration has that any more.
    config
        The configuration file.
    """
    from wayleave.cli import stop as ending

    return ending.detach(ending.settings_of(config)) if name is None else ending.detach_by_name(name)


@app.command
def explain(
    *words: str,
    hex_: Annotated[str | None, Parameter(name="--hex")] = None,
    pcap: Path | None = None,
    packet: Annotated[int, Parameter(validator=from_one)] = 1,
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
        Instead of words, a file of captured frames, pcapng or pcap; needs --port unless `bng capture` wrote it.
    packet
        Which frame of the file, counted from 1.
    port
        The number of the port it comes in by.
    """
    from wayleave.cli import explain as asking

    target = target or Target()
    if (bool(words), hex_ is not None, pcap is not None).count(True) > 1:
        raise Misused("say one packet: in words, or with --hex, or with --pcap")
    question: dict[str, object] = {"frame": hex_, "port": port}
    if pcap is not None:
        question = asking.frame_of(pcap, packet, port)
    elif hex_ is None:
        question = asking.question(words, port, lambda which: find_id(target, which))
    found = target.call("POST", "/explain", question)
    target.print(found, ("", ""), asking.rows(found))
    return 0


@app.command
def plan(*, target: Target | None = None) -> int:
    """Say what another configuration would change, and change nothing.

    With --config it is that file's, wherever it lies; else the file's that the gateway reads. Exit status, as of diff:
    0 nothing, 1 some, 2 refused.
    """
    from wayleave.cli.plan import planned, tell

    target = target or Target()
    try:
        found = planned(target)
    except ApiError as error:
        refuse(str(error))
        return 2
    tell(target, found)
    return 2 if found["refused"] else int(bool(found["changes"]))


@app.command
def reload(*, target: Target | None = None) -> int:
    """Have a running gateway go by its configuration as it is on disk now, or refuse it whole; exit status 2.

    With --config only if that is the file which the gateway reads.
    """
    from wayleave.cli.plan import tell

    target = target or Target()
    found = target.change("POST", "/reload", file=target.given and target.given.absolute())
    tell(target, found)
    return 2 if found["refused"] else 0


@app.command
def capture(
    which: str,
    /,
    *,
    write: Annotated[Path | None, Parameter(name=["--write", "-w"], allow_leading_hyphen=True)] = None,
    seconds: float | None = None,
    count: int | None = None,
    port: int = 0,
    target: Target | None = None,
) -> int:
    """Write one client's packets into a pcapng file, as they come in and as they leave, until Ctrl-C.

    With --json, what came of it is printed at the end, on standard output.

    Parameters
    ----------
    which
        Its MAC: whatever has it, on any line, with a session or without. Or a session's id, address or subscriber: what
        that client sends on its line, and gets.
    write
        The file, `-` for standard output; `X.pcapng` if it is not said.
    seconds
        End after so many seconds.
    count
        End after so many frames: a packet that leaves again is two.
    port
        Only on the port of this number, for a MAC.
    """
    from wayleave.cli import capture as capturing

    target = target or Target()
    asked = capturing.whose(target, which, port) | {"seconds": seconds, "count": count}
    return capturing.run(target, asked, write or Path(f"{which.replace(':', '-')}.pcapng"))


@app.command
def diagnose(which: str, /, *, to: str | None = None, target: Target | None = None) -> int:
    """Say what is wrong with one client, in one verdict. Exit status 0: nothing is.

    Parameters
    ----------
    which
        Its session's id, its address, MAC or subscriber name. By MAC and by subscriber also if it cannot get on.
    to
        Where it wants to go, an IPv4 address; unless given: somewhere in the internet.
    """
    target = target or Target()
    found = target.call("GET", "/diagnose", **whom(target, which), to=to)
    rows = [(key, found[key]) for key in ("verdict", "says", "means", "cure", "client", "address")]
    rows += [("note", note) for note in found["notes"]]
    target.print(
        found,
        ("", ""),
        rows + [("", f"{age(item['ago_s'])} ago: {item['what']} {item['says']}") for item in found["journal"]],
    )
    return 0 if found["verdict"] in ("well", "over-rate") else 1


@clear.command(name="session")
def clear_session(which: str, /, *, target: Target | None = None) -> int:
    """End one session: its address is free again, its client has to ask anew.

    Parameters
    ----------
    which
        Its id, address, MAC or subscriber.
    """
    target = target or Target()
    found = find(target, which)
    target.call("DELETE", f"/sessions/{found['id']}")
    say(f"cleared session {found['id']}: {found['client']} {found['address'] or ''}")
    return 0


def main() -> None:
    """Entry point."""
    enter(app, with_seconds(sys.argv[1:]))


if __name__ == "__main__":
    main()
