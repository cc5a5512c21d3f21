"""`nexus`: run the coordination service, make its certificates, see and change what it keeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from wayleave import __version__
from wayleave.cli import terminal
from wayleave.cli.client import ApiError, Misused
from wayleave.cli.entry import enter
from wayleave.cli.nexus_client import Asked
from wayleave.cli.refusal import from_one
from wayleave.cli.terminal import aside, say
from wayleave.cli.words import several

DEFAULT_CONFIG = Path("/etc/wayleave/nexus.toml")

app = App(name="nexus", help="The coordination service of many gateways.", version=__version__)
certs = App(name="certs", help="The certificates of the service and of those that ask it.")
audit = App(name="audit", help="Who changed what, and when.")
app.command(certs)
app.command(audit)

Changeable = Literal["pool", "provider", "line", "subscriber"]
Kind = Literal["pools", "providers", "lines", "subscribers", "nodes", "blocks", "allocations", "audit"]


@app.command
def serve(*, config: Path = DEFAULT_CONFIG) -> int:
    """Be the service, until told to stop.

    Parameters
    ----------
    config
        The configuration file.
    """
    from wayleave.nexus.serve import main as run_service

    return run_service(config)


@app.command
def check(file: Path = DEFAULT_CONFIG, /) -> int:
    """Say everything that is wrong with a configuration, without touching anything.

    Parameters
    ----------
    file
        The configuration file.
    """
    from wayleave.nexus.settings import SettingsError, load

    try:
        load(file)
    except SettingsError as error:
        for problem in error.problems:
            aside(problem)
        aside(several(len(error.problems), "problem"))
        return 2
    say(f"{file}: good")
    return 0


@certs.command
def init(
    folder: Path,
    /,
    *,
    name: str = "Wayleave Nexus CA",
    days: Annotated[int, Parameter(validator=from_one)] = 3650,
) -> int:
    """Make a certificate authority in a folder: `ca.pem`, which everybody is given, and `ca.key`, which nobody is.

    Parameters
    ----------
    folder
        The folder.
    name
        What the authority is called.
    days
        For how long its certificate counts.
    """
    from wayleave.nexus import certificates

    try:
        say(str(certificates.init(folder, name, days)))
    except certificates.CertificateError as error:
        raise ApiError(str(error)) from None
    return 0


@certs.command
def issue(
    folder: Path,
    /,
    *,
    role: Literal["server", "node", "provider", "operator", "auditor"],
    name: str,
    address: tuple[str, ...] = (),
    days: Annotated[int, Parameter(validator=from_one)] = 365,
    again: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Make a certificate and its key, `NAME.pem` and `NAME.key`, in the folder of the authority.

    Parameters
    ----------
    folder
        The folder that `nexus certs init` made.
    role
        What its holder is: a server of Nexus, or who asks one. A node is a gateway.
    name
        What its holder is called; of a gateway: as its configuration calls it (`gateway.name`).
    address
        A name or an address that a server is called by; once for each.
    days
        For how long it counts.
    again
        Write over the certificate and the key of that name.
    """
    from wayleave.nexus import certificates
    from wayleave.session.settings import parse_name

    try:
        parse_name(name)
        say(str(certificates.issue(folder, role, name, address, days, again)))
    except certificates.CertificateError as error:
        raise ApiError(str(error)) from None
    except ValueError as error:
        raise Misused(f"--name: {error}") from None
    return 0


@app.command
def show(
    kind: Kind,
    name: str | None = None,
    /,
    *,
    pool: str | None = None,
    asked: Asked | None = None,
) -> int:
    """List what Nexus has of a kind, or show one by its name.

    Parameters
    ----------
    kind
        Of what.
    name
        Only this one.
    pool
        Of blocks and allocations: the pool that they are of.
    """
    from wayleave.cli import records

    return records.show(asked or Asked(), kind, name, pool)


@app.command
def put(kind: Changeable, name: str, /, *values: str, asked: Asked | None = None) -> int:
    """Make a record, or change some of what it says.

    Parameters
    ----------
    kind
        Of what kind it is.
    name
        What it is called.
    values
        What it says, as in `space=100.64.0.0/16 block=256`; `key=` with nothing behind it takes the key back.
    """
    from wayleave.cli import records

    return records.put(asked or Asked(), kind, name, values)


@app.command
def delete(kind: Changeable, name: str, /, *, asked: Asked | None = None) -> int:
    """Delete a record, as it is now.

    Parameters
    ----------
    kind
        Of what kind it is.
    name
        What it is called.
    """
    from wayleave.cli import records

    return records.delete(asked or Asked(), kind, name)


@app.command
def allocate(
    pool: str,
    holder: str,
    /,
    *,
    mode: Literal["sticky", "session", "ttl", "reservation"] = "reservation",
    unit: str = "",
    ttl: str | None = None,
    asked: Asked | None = None,
) -> int:
    """Give somebody one unit of a pool, that Nexus hands out itself; who has one already is told it.

    Parameters
    ----------
    pool
        Of which pool.
    holder
        Who is to have it: a subscriber, a line, a server.
    mode
        Until it is released (reservation, session; sticky: it gets the same again then), or is not renewed (ttl).
    unit
        That one, as the pool's kind writes it; whichever is free unless it is said.
    ttl
        For how long without being renewed, as in 90s or 1h.
    """
    from wayleave.cli import records
    from wayleave.net.duration import parse_duration
    from wayleave.net.units import SECOND

    try:
        seconds = 0 if ttl is None else parse_duration(ttl) // SECOND
    except ValueError as error:
        raise Misused(f"--ttl: {error}") from None
    return records.allocate(asked or Asked(), pool, holder, mode, unit, seconds)


@app.command
def release(identity: str, /, *, asked: Asked | None = None) -> int:
    """Take a unit back that Nexus handed out itself.

    Parameters
    ----------
    identity
        The allocation's id.
    """
    from wayleave.cli import records

    return records.release(asked or Asked(), identity)


@audit.command
def verify(*, known: str | None = None, asked: Asked | None = None) -> int:
    """Read every record of who changed what, and say whether the chain is whole. Exit status 1: it is not.

    Parameters
    ----------
    known
        NUMBER:HASH, as this command said once: the chain has to have that still.
    """
    from wayleave.cli import records

    return records.verify(asked or Asked(), known)


def main() -> None:
    """Entry point."""
    terminal.program = "nexus"
    enter(app, sys.argv[1:])


if __name__ == "__main__":
    main()
