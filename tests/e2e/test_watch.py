"""`bng show … --watch`: again and again, a document a line for programs, a screen for people; Ctrl-C ends it well."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.start(lab.config())
        yield lab


def test_json_is_a_document_a_line_that_follows_what_happens(lab: Lab) -> None:
    process = lab.gateway.start_command(
        "show", "pools", "--json", "--watch", "0.05", "--config", str(lab.gateway.config_file)
    )

    def held() -> list[int]:
        return [json.loads(line)[0]["held"] for line in process.output().splitlines()]

    wait_until(lambda: len(held()) >= 2, "two looks")
    lab.customers[0].dhcp("udhcpc")
    wait_until(lambda: held()[-1] == 1, "a look at what has changed")
    process.signal(signal.SIGINT)
    assert process.wait() == 0
    assert set(held()) == {0, 1}, "and nothing else was printed"


def test_a_screen_is_drawn_anew(lab: Lab) -> None:
    ours, theirs = os.openpty()
    argv = lab.gateway.namespace.command(
        sys.executable, "-m", "wayleave.cli.bng", "show", "pools", "--watch", "0.05",
        "--config", str(lab.gateway.config_file),
    )  # fmt: skip
    process = subprocess.Popen(argv, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    seen = b""
    while seen.count(b"\x1b[H\x1b[J") < 3:
        assert select.select([ours], [], [], 10)[0], "it draws no more"
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
        while rest := os.read(ours, 4096):
            seen += rest
    assert process.wait(10) == 0
    os.close(ours)
    screens = seen.split(b"\x1b[H\x1b[J")
    assert screens[0] == b""
    assert all(b"residential" in screen for screen in screens[1:-1])
    assert b"Traceback" not in seen


def test_who_has_seen_enough_ends_it(lab: Lab) -> None:
    command = f"{sys.executable} -m wayleave.cli.bng show pools --json --watch 0.05 --config {lab.gateway.config_file}"
    said = lab.gateway.run(
        "bash", "-c", f"set -o pipefail; {command} 2>{lab.folder}/errors | head -1; echo ${{PIPESTATUS[0]}}"
    )
    assert said.splitlines()[-1] == "0"
    assert (lab.folder / "errors").read_text() == ""


def test_it_ends_in_words_with_its_gateway(lab: Lab) -> None:
    process = lab.gateway.start_command("show", "version", "--watch", "0.05", "--config", str(lab.gateway.config_file))
    wait_until(lambda: process.output().count("ready") >= 2, "two looks")
    lab.gateway.stop()
    assert process.wait() == 2
    assert "no gateway answers" in process.output()
