"""Fixtures of the data-plane tests: the object is compiled from the tree, never taken from an older build."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from wayleave.dataplane import objects
from wayleave.dataplane.abi import Port, PortKind
from wayleave.dataplane.maps import Ports
from wayleave.dataplane.plane import settings_of_kernel

from .rig import GATEWAY_MAC, ROWS, SUB, Bench, namespace

ROOT = Path(__file__).resolve().parents[2]
RING_OCTETS = 1 << 16
SIZES = {"clients": ROWS, "hosts4": ROWS, "sessions": ROWS, "usage": ROWS, "ring": RING_OCTETS}


@pytest.fixture(scope="package")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data plane's object, compiled with the build's own flags."""
    spec = importlib.util.spec_from_file_location("build_bpf", ROOT / "tools" / "build_bpf.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    target = tmp_path_factory.mktemp("bpf") / "bng.bpf.o"
    build.compile_object(ROOT / "bpf" / "bng.bpf.c", target)
    return target


@pytest.fixture(scope="package")
def loaded(compiled: Path) -> Iterator[Bench]:
    """The object, loaded once, with devices of its own."""
    with namespace():
        object_ = objects.load(compiled, SIZES, {".rodata.settings": settings_of_kernel().pack()})
        yield Bench(object_)
        object_.close()


@pytest.fixture
def bench(loaded: Bench) -> Bench:
    """The bench with nothing on it."""
    loaded.reset()
    return loaded


@pytest.fixture
def shared(bench: Bench) -> Iterator[Bench]:
    """The subscriber port as one whose VLANs are many lines'."""
    ports = Ports(bench.maps["ports"])
    alone = Port(SUB, PortKind.SUBSCRIBER, 0, bench.devices["sub"], GATEWAY_MAC, 1508, 0, 1)
    ports.put(replace(alone, shared=1))
    yield bench
    ports.put(alone)
