"""A guest runs another kernel on the files of here, changes nothing here, and ends with its `with`."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.lab.guest import DEBIAN, JOURNAL, Guest, GuestFailed, Kernel
from wayleave.lab.namespace import CommandFailed
from wayleave.lab.process import Process
from wayleave.lab.waiting import wait_until


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest(DEBIAN, tmp_path_factory.mktemp("guest")) as made:
        yield made


def test_its_kernel_is_another(guest: Guest) -> None:
    assert guest.run("uname", "-r").strip() == DEBIAN.release != os.uname().release


def test_it_has_the_files_of_here_and_what_it_writes_is_its_own(guest: Guest) -> None:
    here = Path(__file__)
    assert guest.run("cat", str(here)) == here.read_text()
    guest.shell(f"echo changed >{here}")
    assert guest.run("cat", str(here)) == "changed\n"
    assert here.read_text() != "changed\n"


def test_a_command_that_fails_says_how(guest: Guest) -> None:
    with pytest.raises(CommandFailed, match=r"exit 3\nwhy\n"):
        guest.shell("echo why >&2; exit 3")
    assert guest.shell("echo why; exit 3", check=False) == "why\n"


def test_a_quoted_word_arrives_as_it_is(guest: Guest) -> None:
    assert guest.run("printf", "%s", "a 'b' \"c\" $d\n") == "a 'b' \"c\" $d\n"


def test_a_command_is_at_no_terminal(guest: Guest) -> None:
    assert guest.shell("for fd in 0 1 2; do [ -t $fd ] && echo $fd; done", check=False) == ""


def test_the_journal_is_read_outside(guest: Guest) -> None:
    guest.shell(f"echo heard >{JOURNAL}")
    wait_until(lambda: guest.journal == "heard\n", lambda: f"line in the journal: {guest.journal!r}")


def test_no_kernel_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(GuestFailed, match="make setup"):
        Guest(Kernel(tmp_path), tmp_path)


def test_it_ends_with_who_started_it_however_that_ends(tmp_path: Path) -> None:
    shell = tmp_path / "shell.sock"
    start = f"from wayleave.lab.guest import *; Guest(DEBIAN, Path({str(tmp_path)!r}))"
    starter = Process([sys.executable, "-c", start], tmp_path / "starter.log")
    wait_until(shell.exists, lambda: f"QEMU: {starter.output()}")
    starter.signal(signal.SIGKILL)
    starter.wait()

    def gone() -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(shell)) == errno.ECONNREFUSED

    wait_until(gone, "end of QEMU")


def test_a_command_that_ends_the_guest_is_no_time_out(guest: Guest) -> None:
    """The last one here: the guest is everybody's."""
    with pytest.raises(GuestFailed, match="ended"):
        guest.shell("echo b >/proc/sysrq-trigger; cat")
