"""Processes of a lab: each leads a group of its own, logs to a file, and ends with the lab."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class Process:
    """A running command. Its group is killed as one, so what it started ends with it."""

    def __init__(
        self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None, inherit: Sequence[int] = ()
    ) -> None:
        """Start it. `inherit` are descriptors that it gets under their own numbers."""
        self.argv, self.log = list(argv), log
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                pass_fds=inherit,
            )

    def __repr__(self) -> str:
        return f"Process({self.pid}: {' '.join(self.argv)})"

    @property
    def pid(self) -> int:
        """The command's own process id: nsenter and the like have become it."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """True until it ends."""
        return self._child.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status, minus the signal if one ended it, None while it runs."""
        return self._child.poll()

    def output(self) -> str:
        """What it has written so far, standard error included."""
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to the command alone; no error if it has ended."""
        if self.alive:
            self._child.send_signal(number)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end; returns the exit status. Raises: TimeoutError."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"after {timeout:g} s still running: {self}\n{self.output()[-2000:]}") from error

    def kill(self) -> None:
        """SIGKILL to the whole group; returns when the command is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()

    def stop(self, timeout: float = 5.0) -> int:
        """SIGTERM, and SIGKILL to the group after `timeout`; returns the exit status."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout)
        self.kill()
        return self._child.wait()
