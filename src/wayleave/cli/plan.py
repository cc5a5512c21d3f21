"""What `bng plan` and `bng reload` print."""

from __future__ import annotations

import json
import sys
from typing import Any

from wayleave.cli.client import Misused
from wayleave.cli.target import Target, remark


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
        print(json.dumps(found, indent=2))
        return
    for line in found["refused"]:
        print(f"refused: {line}", file=sys.stderr)
    for line in found["changes"]:
        print(line)
    if found["refused"]:
        print("bng: nothing was changed", file=sys.stderr)
        return
    if not found["changes"]:
        print(f"{found['file']}: nothing differs from how the gateway runs")
        return
    for line in found["examples"]:
        print(line)
    sessions = found["sessions"]
    ended = "ended" if found["applied"] else "to end"
    moved = "moved at their next request"
    print(f"sessions: {sessions['kept']} kept, {sessions['moved']} {moved}, {sessions['ended']} {ended}")
    print(f"rows: {found['rows']} {'written' if found['applied'] else 'to write'}")
    if found["file"] != found["own"]:
        remark(f"this is what {found['file']} would change; `bng reload` reads {found['own']}")
