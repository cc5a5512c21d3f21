"""`--watch`, before a gateway is asked: the seconds that need not be said, and those that make no sense."""

from __future__ import annotations

import pytest

from wayleave.cli.bng import app
from wayleave.cli.client import ApiError
from wayleave.cli.show import show
from wayleave.cli.watch import with_seconds

WORDS = {
    "show pools --watch": "show pools --watch 2",
    "show pools --watch 0.5": "show pools --watch 0.5",
    "show pools --watch --json": "show pools --watch 2 --json",
    "show session --watch 5 12": "show session --watch 5 12",
    "show session smith --watch": "show session smith --watch 2",
    "show pools --watch -1": "show pools --watch -1",
    "show pools": "show pools",
}


@pytest.mark.parametrize("said", WORDS)
def test_seconds_that_are_not_said_are_two(said: str) -> None:
    assert with_seconds(said.split()) == WORDS[said].split()


@pytest.mark.parametrize("command", [name for name in show if not name.startswith("-")])
def test_every_look_can_be_repeated(command: str) -> None:
    """Refused for its seconds before anything is asked."""
    words = ["show", command, *(["1"] if command in ("session", "journal") else []), "--watch", "0"]
    with pytest.raises(ApiError, match="--watch 0"):
        app(words)
