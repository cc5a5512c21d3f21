"""What `bng plan` and `bng reload` print."""

from __future__ import annotations

from typing import Any

from wayleave.cli.client import Misused
from wayleave.cli.target import Target
from wayleave.cli.terminal import aside, document, remark, say


def planned(target: Target) -> dict[str, Any]:
    """Ask what would change: by the file that was said, which is sent, or by the gateway's own. Raises: ApiError."""
    if target.given is None:
        return dict(target.change("GET", "/plan"))
    import msgspec

    from wayleave.config.load import FILES_MAX, read

    body = msgspec.json.encode(read(target.given.absolute()))
    if len(body) > FILES_MAX:
        raise Misused(
            f"{target.given} and its subscribers are more than {FILES_MAX >> 20} MiB, too much to send: put them where "
            f"the gateway reads them, and say `bng plan --socket {target.where}`"
        )
    return dict(target.change("POST", "/plan", body))


def tell(target: Target, found: dict[str, Any]) -> None:
    """Print what a reload would change, or has changed; on standard error, why it would not."""
    if target.as_json:
        document(found, 2)
        return
    for line in found["refused"]:
        aside(f"refused: {line}")
    for line in found["changes"]:
        say(line)
    if found["refused"]:
        remark("nothing was changed")
        return
    if not found["changes"]:
        say(f"{found['file']}: nothing differs from how the gateway runs")
        return
    for line in found["examples"]:
        say(line)
    sessions = found["sessions"]
    ended = "ended" if found["applied"] else "to end"
    moved = "moved at their next request"
    say(f"sessions: {sessions['kept']} kept, {sessions['moved']} {moved}, {sessions['ended']} {ended}")
    say(f"rows: {found['rows']} {'written' if found['applied'] else 'to write'}")
    if found["file"] != found["own"]:
        remark(f"this is what {found['file']} would change; `bng reload` reads {found['own']}")
