"""`--watch`: the same look again and again, until Ctrl-C."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from wayleave.cli.client import Misused
from wayleave.cli.target import Target
from wayleave.cli.terminal import nobody_reads

EVERY_S = 2
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


@Parameter(name="*")
class View(Target):
    """What to look at, and how often.

    Parameters
    ----------
    config
        The gateway's configuration file; /etc/wayleave/bng.toml unless it is said.
    socket
        Its API socket, instead of the one the configuration names.
    as_json
        Print JSON.
    watch
        Look again every so many seconds, 2 if they are not said, until Ctrl-C; JSON is then a document a line.
    """

    def __init__(
        self,
        config: Path | None = None,
        socket: str | None = None,
        as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
        watch: float | None = None,
    ) -> None:
        super().__init__(config, socket, as_json)
        self.watch = watch
        self.indent = 2 if watch is None else None


def watched(command: Callable[..., int]) -> Callable[..., int]:
    """Have a command of `bng show`, whose view is its argument `target`, look again if it is asked to."""

    @functools.wraps(command)
    def look(*words: Any, target: View | None = None, **options: Any) -> int:
        view = target or View()
        if view.watch is None:
            return command(*words, target=view, **options)
        if view.watch <= 0:
            raise Misused(f"--watch {view.watch}: say how many seconds lie between two looks")
        clears = sys.stdout.isatty() and not view.as_json
        try:
            while True:
                if clears:
                    sys.stdout.write(_HOME_AND_CLEAR)
                command(*words, target=view, **options)
                sys.stdout.flush()
                threading.Event().wait(view.watch)
        except KeyboardInterrupt:
            return 0
        except BrokenPipeError:
            nobody_reads()
            return 0

    return look


def with_seconds(words: Sequence[str]) -> list[str]:
    """Say how often behind every `--watch` that does not."""
    said: list[str] = []
    for number, word in enumerate(words):
        said.append(word)
        following = words[number + 1] if number + 1 < len(words) else ""
        if word == "--watch" and not following.replace(".", "", 1).lstrip("-").isdigit():
            said.append(str(EVERY_S))
    return said
