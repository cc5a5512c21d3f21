"""How long tests may take: `test` is budgeted, `soak` is the long run. Chosen by WAYLEAVE_PROFILE.

It sets how many examples Hypothesis tries, and whether tests marked `soak` run; pytest tells how many it deselected.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("test", max_examples=150, deadline=None, print_blob=True, derandomize=False)
settings.register_profile("soak", parent=settings.get_profile("test"), max_examples=50_000)
PROFILE = os.environ.get("WAYLEAVE_PROFILE", "test")
settings.load_profile(PROFILE)


def pytest_report_header() -> str:
    return f"wayleave: profile {PROFILE}, {settings.default.max_examples} examples a property"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    long = [] if PROFILE == "soak" else [item for item in items if item.get_closest_marker("soak")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)
