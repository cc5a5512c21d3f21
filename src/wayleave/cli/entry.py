"""How a command begins and ends: its exit status, what words that make no sense are told, a reader that has gone."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError

from wayleave.cli.client import ApiError
from wayleave.cli.refusal import told
from wayleave.cli.terminal import all_written, nobody_reads, refuse, remark


def enter(app: App, words: Sequence[str]) -> None:
    """Run a command line, and end the process."""
    try:
        _run(app, words)
    except BrokenPipeError:
        nobody_reads()
        sys.exit(128 + signal.SIGPIPE)  # as a shell says of what that signal ends


def _run(app: App, words: Sequence[str]) -> NoReturn:
    """Run a command, and have all be written that it prints."""
    try:
        sys.exit(app(words, exit_on_error=False, print_error=False))
    except CycloptsError as error:
        remark(told(error))
        sys.exit(2)
    except ApiError as error:
        refuse(str(error))
        sys.exit(error.status)
    finally:
        all_written()
