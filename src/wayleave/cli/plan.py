"""What `bng plan` and `bng reload` print."""

from __future__ import annotations

import json
import sys
from typing import Any

from wayleave.cli.target import Target


def told(target: Target, found: dict[str, Any]) -> None:
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
        print("nothing differs")
        return
    for line in found["examples"]:
        print(line)
    sessions = found["sessions"]
    ended = "ended" if found["applied"] else "to end"
    moved = "moved at their next request"
    print(f"sessions: {sessions['kept']} kept, {sessions['moved']} {moved}, {sessions['ended']} {ended}")
    print(f"rows: {found['rows']} {'written' if found['applied'] else 'to write'}")
