"""Secrets come from files that only their owner reads; what is wrong with one is said without showing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wayleave.io.secrets import SecretError, read_secret


def written(path: Path, text: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text)
    path.chmod(mode)
    return path


def test_the_end_of_the_line_is_no_part_of_it(tmp_path: Path) -> None:
    assert read_secret(written(tmp_path / "a", b"hunter2\r\n"), "x") == b"hunter2"
    assert read_secret(written(tmp_path / "b", b" with spaces \n"), "x") == b" with spaces "


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (b"hunter2", 0o640, "can be read by others (mode 640): chmod 600"),
        (b"hunter2", 0o604, "can be read by others (mode 604): chmod 600"),
        (b"hunter2", 0o620, "can be written by others (mode 620): chmod 600"),
        (b"hunter2", 0o666, "can be read and written by others (mode 666): chmod 600"),
        (b"hunter2", 0o601, "can be run by others (mode 601): chmod 600"),
        (b"\n", 0o600, "is empty: write the secret into it"),
    ],
)
def test_what_is_wrong_is_said_and_the_secret_is_not(tmp_path: Path, text: bytes, mode: int, why: str) -> None:
    with pytest.raises(SecretError) as refused:
        read_secret(written(tmp_path / "s", text, mode), "radius.servers[r1].secret")
    assert why in str(refused.value)
    assert str(refused.value).startswith("radius.servers[r1].secret: ")
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="No such file or directory: write the secret into that file"):
        read_secret(tmp_path / "none", "x")
