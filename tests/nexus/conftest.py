"""The stores that resources are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.nexus.store.port import Store

from .driven import in_memory, on_disk


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """One that is driven by hand (`driven.run`)."""
    if request.param == "memory":
        yield in_memory()
    else:
        with on_disk(tmp_path / "nexus.sqlite") as opened:
            yield opened
