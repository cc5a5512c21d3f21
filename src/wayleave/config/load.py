"""Read the configuration, and say everything that is wrong with it at once, each with its path.

Reading is apart from understanding: `bng plan` reads files where it runs, and the gateway understands them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from pydantic import BaseModel, ValidationError

from wayleave.aaa.local import Subscriber
from wayleave.config.schema import (
    Configuration,
    Parts,
    Problem,
    SubscribersFile,
    contradictions,
    contradictions_of,
    items,
    parts,
)
from wayleave.config.wording import what, where

Tree = TypeVar("Tree", bound=BaseModel)

FILES_MAX = 64 << 20
"""Octets of `Files` in JSON, at most: some 500,000 subscribers."""


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` is one line each: FILE: path: what is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class File(Struct, frozen=True):
    """A file as it was read; `text` None: it could not be, and `why_not` says why."""

    path: str
    text: str | None = None
    why_not: str = ""


class Files(Struct, frozen=True):
    """A configuration as it was read, with the subscribers file that it names, if it names one."""

    gateway: File
    subscribers: File | None = None


def load(path: Path) -> tuple[Configuration, tuple[Subscriber, ...]]:
    """Return the configuration at `path` and the subscribers it names. Raises: ConfigurationError."""
    return understand(read(path))


def read(path: Path) -> Files:
    """Read the file at `path` and the one that it names."""
    gateway = _file(path)
    named = _toml(gateway, []) or {}
    section = named.get("authorization")
    name = section.get("subscribers") if isinstance(section, dict) else None
    return Files(gateway, _file(path.parent / name) if isinstance(name, str) else None)


def _file(path: Path) -> File:
    try:
        return File(str(path), path.read_text())
    except OSError as error:
        return File(str(path), None, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return File(str(path), None, f"is not TOML: octet {error.start} is not UTF-8")


def understand(files: Files) -> tuple[Configuration, tuple[Subscriber, ...]]:
    """Return what files that were read say.

    Raises: ConfigurationError with every problem found. What one value breaks is not asked about the others: they are
    checked against each other all the same.
    """
    problems: list[str] = []
    raw, path = _toml(files.gateway, problems), files.gateway.path
    if raw is None:
        raise ConfigurationError(problems)
    tree, wrong = _validated(Configuration, raw)
    known = parts(raw)
    problems += _told(path, [*wrong, *contradictions(known)])
    subscribers: tuple[Subscriber, ...] = ()
    if files.subscribers is not None:
        subscribers = _subscribers(files.subscribers, known, problems)
    if problems or tree is None:
        raise ConfigurationError(problems)
    return tree, subscribers


def _subscribers(text: File, known: Parts, problems: list[str]) -> tuple[Subscriber, ...]:
    raw = _toml(text, problems, ": authorization.subscribers is relative to the file it stands in")
    if raw is None:
        return ()
    file, wrong = _validated(SubscribersFile, raw)
    good = dict(enumerate(file.subscribers)) if file is not None else items(Subscriber, raw.get("subscribers")).good
    problems += _told(text.path, [*wrong, *contradictions_of(good, known)])
    return file.subscribers if file is not None else ()


def _toml(file: File, problems: list[str], hint: str = "") -> dict[str, Any] | None:
    """Return what a file says; `hint` goes with one that could not be read."""
    if file.text is None:
        problems.append(f"{file.path}: {file.why_not}{hint}")
        return None
    try:
        return tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file.path}: is not TOML: {error}")
    return None


def _validated(model: type[Tree], raw: dict[str, Any]) -> tuple[Tree | None, list[Problem]]:
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        return None, [(where(item["loc"]), what(model, item)) for item in error.errors()]


def _told(path: str, problems: Iterable[Problem]) -> list[str]:
    return [f"{path}: {place}: {words}" for place, words in problems]
