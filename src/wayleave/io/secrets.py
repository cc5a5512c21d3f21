"""Secrets, from files that only their owner may read. They are shown nowhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OPEN = {0o044: "read", 0o022: "written", 0o011: "run"}
"""What others can do with a file, by the bits of its mode."""


class SecretError(Exception):
    """A secret or a certificate cannot be used; the text says which, why, and what to do."""

    def __init__(self, setting: str, says: str, cure: str) -> None:
        super().__init__(f"{setting}: {says}: {cure}")
        self.setting, self.says, self.cure = setting, says, cure


def read_secret(path: Path, setting: str) -> bytes:
    """Return what a file holds, without the end of its line. `setting` is what names it. Raises: SecretError."""
    held = read_private(path, setting, "the secret", 4096).rstrip(b"\r\n")
    if not held:
        raise SecretError(setting, f"{path} is empty", "write the secret into it")
    return held


def read_private(path: Path, setting: str, what: str, most: int) -> bytes:
    """Return what a file holds, up to `most` octets; `what` it should be. Raises: SecretError if others can use it."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            held = file.read(most)
    except OSError as error:
        raise SecretError(setting, f"{path}: {error.strerror}", f"write {what} into that file") from None
    if mode & 0o077:
        can = " and ".join(done for bits, done in _OPEN.items() if mode & bits)
        raise SecretError(setting, f"{path} can be {can} by others (mode {mode:o})", f"chmod 600 {path}")
    return held
