"""`bng capture`: one client's packets into a file, until Ctrl-C."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from wayleave.cli.client import ApiError, Misused
from wayleave.cli.target import Target, find_id, is_mac
from wayleave.cli.terminal import aside, document, nobody_reads

if TYPE_CHECKING:
    from collections.abc import Iterator


def whose(target: Target, which: str, port: int) -> dict[str, object]:
    """Return how the API is asked: for a MAC wherever it is, or a session's client on its line. Raises: ApiError."""
    if is_mac(which):
        return {"mac": which, "port": port}
    if port:
        raise Misused(f"--port goes with a MAC: {which} is captured on the line of its session")
    id_ = find_id(target, which)
    if id_ is None:
        raise ApiError(f"there is no session with address {which}: of a client without one say its MAC")
    return {"session": id_}


def run(target: Target, asked: dict[str, object], path: Path) -> int:
    """Write the capture to a file, `-` for standard output, and say how it went. Raises: ApiError."""
    if target.as_json and str(path) == "-":
        raise Misused("--json and the capture cannot both go to standard output: say another file with --write")
    try:
        with target.stream("POST", "/capture", **asked) as pieces, _written(path) as out:
            aside(f"capturing into {path}; Ctrl-C ends it")
            for piece in pieces:
                out.write(piece)
                out.flush()
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        nobody_reads()
    _summary(target, path)
    return 0


def _summary(target: Target, path: Path) -> None:
    try:
        told: dict[str, Any] = target.call("GET", "/capture")
    except ApiError:
        told = {"running": False, "client": None, "packets": None, "lost": None}
    if target.as_json:
        document({"file": str(path), **told}, 2)
    elif told["client"] is None:
        aside("the gateway has stopped; the file is whole")
    else:
        aside(f"{told['packets']} frames of {told['client']}, {told['lost']} lost")


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise Misused(f"{path}: {error.strerror}") from error
    with file:
        yield file
