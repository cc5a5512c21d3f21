"""How many examples Hypothesis tries: `test` is budgeted, `soak` is the long run. Chosen by WAYLEAVE_PROFILE."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("test", max_examples=150, deadline=None, print_blob=True, derandomize=False)
settings.register_profile("soak", parent=settings.get_profile("test"), max_examples=50_000)
PROFILE = os.environ.get("WAYLEAVE_PROFILE", "test")
settings.load_profile(PROFILE)


def pytest_report_header() -> str:
    return f"wayleave: profile {PROFILE}, {settings.default.max_examples} examples a property"
