"""How the capture programs take the ports' place, and give it back, when a port is not as it should be."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from wayleave.dataplane import objects, pins, syscall
from wayleave.dataplane.abi import CaptureFilter, PortKind
from wayleave.dataplane.plane import DataPlane, settings_of_kernel
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs

OWN, STANDING_IN = 1, 2
WANTED = CaptureFilter(Mac(bytes(5) + b"\1"), 0, 0, 0, 0)


def test_a_program_that_is_not_there_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"unbuilt-{os.getpid()}"
    monkeypatch.setattr(objects, "PROGRAM", tmp_path / "bng.bpf.o")
    with pytest.raises(objects.LoadError, match="is not built"):
        DataPlane(name, {}, settings_of_kernel(), lambda: BootNs(0))
    assert name not in pins.instances()


@pytest.fixture
def plane() -> DataPlane:
    """Three ports; their links are called 1 to 3."""
    plane = object.__new__(DataPlane)
    held: Any = plane
    held._capturing = False
    held._object = SimpleNamespace(programs={"bng_access": OWN, "capture_access": STANDING_IN})
    held.copies = SimpleNamespace(choose=lambda _wanted: None, end=lambda: None)
    port = SimpleNamespace(kind=PortKind.SUBSCRIBER)
    held.attached = {number: SimpleNamespace(link=number, device=f"acc{number}", port=port) for number in (1, 2, 3)}
    return plane


@pytest.mark.parametrize(("number", "said"), [(errno.ENOLINK, []), (errno.EBUSY, ["acc2"])])
def test_a_program_that_is_not_exchanged_is_told_unless_its_device_is_gone(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch, number: int, said: list[str]
) -> None:
    under: dict[int, int] = {}

    def link_update(link: int, program: int) -> None:
        if link == 2:
            raise OSError(number, os.strerror(number))
        under[link] = program

    monkeypatch.setattr(syscall, "link_update", link_update)
    for wanted, program in ((WANTED, STANDING_IN), (None, OWN)):
        with capture_logs() as lines:
            plane.capture(wanted)
        assert under == {1: program, 3: program}
        assert [line["device"] for line in lines] == said


def test_what_cannot_be_looked_for_changes_no_port(plane: DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the program that a port gets that is attached later."""

    def choose(_wanted: CaptureFilter) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(plane.copies, "choose", choose)
    monkeypatch.setattr(syscall, "link_update", lambda *_: pytest.fail("exchanged"))
    with pytest.raises(OSError, match="no"):
        plane.capture(WANTED)
    assert plane._program(PortKind.SUBSCRIBER) == OWN
