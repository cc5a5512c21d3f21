"""Read the configuration, and say everything that is wrong with it at once, each with its path.

Reading is apart from understanding: `bng plan` reads files where it runs, and the gateway understands them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from pydantic import ValidationError

from wayleave.aaa.local import Subscriber
from wayleave.config.partial import partial
from wayleave.config.rules import contradictions, contradictions_of
from wayleave.config.schema import Configuration, SubscribersFile
from wayleave.config.wording import Places, what
from wayleave.session.settings import Leaf, Problem

Tree = TypeVar("Tree", bound=Leaf)

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
    except PermissionError:
        return File(str(path), None, "cannot be read: Permission denied: run this as root (sudo)")
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
    raw = _toml(files.gateway, problems)
    if raw is None:
        raise ConfigurationError(problems)
    settings, wrong = _validated(Configuration, raw)
    problems += _told(files.gateway, [*wrong, *contradictions(settings)])
    subscribers: tuple[Subscriber, ...] = ()
    if files.subscribers is not None:
        raw = _toml(files.subscribers, problems, ": authorization.subscribers is relative to the file it stands in")
        people, wrong = _validated(SubscribersFile, raw or {})
        problems += _told(files.subscribers, [*wrong, *contradictions_of(people, settings)])
        subscribers = people.subscribers
    if problems:
        raise ConfigurationError(problems)
    return settings, subscribers


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


def _validated(model: type[Tree], raw: dict[str, Any]) -> tuple[Tree, list[Problem]]:
    """Return what a file says, as far as it makes sense, and what does not."""
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        tree = partial(model, raw)
        places = Places(tree)
        return tree, [(places.where(item["loc"]), what(model, item)) for item in error.errors()]


def _told(file: File, problems: Iterable[Problem]) -> list[str]:
    return [f"{file.path}: {place}: {words}" for place, words in problems]
