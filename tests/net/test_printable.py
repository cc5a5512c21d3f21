"""What others said is shown, and nothing of it is obeyed."""

from __future__ import annotations

import pytest

from wayleave.net.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("café [b] :cd: \\x", "café [b] :cd: \\x"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("a\r\n\t", r"a\r\n\t"),
        ("\u202e\u2028\udc80", r"\u202e\u2028\udc80"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_is_not_printable_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert shown.isprintable()
