"""Passwords and shared secrets."""

from __future__ import annotations


class Secret(bytes):
    """Octets that show nowhere."""

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__
