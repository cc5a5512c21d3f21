"""Fixtures of the data-plane tests: the object is compiled from the tree, never taken from an older build."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.dataplane import objects
from wayleave.dataplane.plane import settings_of_kernel

from .rig import ROWS, Bench, namespace

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
