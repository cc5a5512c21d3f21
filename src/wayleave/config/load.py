"""Read the configuration, and say everything that is wrong with it at once, each with its path.

Reading is apart from understanding: `bng plan` reads files where it runs, and the gateway understands them. What is
wrong with a password is said by whose it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct
from pydantic import ValidationError

from wayleave.aaa.local import Subscriber
from wayleave.config.rules import contradictions, contradictions_of, unproven
from wayleave.config.schema import Configuration, SubscribersFile
from wayleave.io.secrets import SecretError, read_private
from wayleave.net.secret import Secret
from wayleave.session.partial import partial
from wayleave.session.settings import Leaf, Problem
from wayleave.session.wording import Places, what

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

    def __repr__(self) -> str:
        return f"File({self.path!r})"  # one may hold passwords


class Files(Struct, frozen=True):
    """A configuration as it was read, with the files that it names: of subscribers, and of their passwords."""

    gateway: File
    subscribers: File | None = None
    secrets: File | None = None


class Loaded(NamedTuple):
    """What files say: the configuration, the subscribers that it names, and the passwords of those that are users."""

    settings: Configuration
    subscribers: tuple[Subscriber, ...]
    passwords: Mapping[str, Secret]


def load(path: Path) -> Loaded:
    """Return the configuration at `path` and what it names. Raises: ConfigurationError."""
    return understand(read(path))


def read(path: Path) -> Files:
    """Read the file at `path` and those that it names."""
    gateway = _file(path)
    named = _toml(gateway, []) or {}
    section = named.get("authorization")
    subscribers, secrets = (section.get(key) if isinstance(section, dict) else None for key in _NAMES)
    return Files(
        gateway,
        _file(path.parent / subscribers) if isinstance(subscribers, str) else None,
        _private(path.parent / secrets) if isinstance(secrets, str) else None,
    )


_NAMES = ("subscribers", "secrets")
"""The settings of [authorization] that name files."""


def _private(path: Path) -> File:
    """A file of passwords, which only its owner may read."""
    try:
        return File(str(path), read_private(path, "authorization.secrets", "the passwords", FILES_MAX).decode())
    except SecretError as error:
        return File(str(path), None, str(error))
    except UnicodeDecodeError as error:
        return File(str(path), None, f"authorization.secrets: {path} is not TOML: octet {error.start} is not UTF-8")


def _file(path: Path) -> File:
    try:
        return File(str(path), path.read_text())
    except PermissionError:
        return File(str(path), None, "cannot be read: Permission denied: run this as root (sudo)")
    except OSError as error:
        return File(str(path), None, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return File(str(path), None, f"is not TOML: octet {error.start} is not UTF-8")


def understand(files: Files) -> Loaded:
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
    passwords = _passwords(files, problems)
    if files.subscribers is not None:
        raw = _toml(files.subscribers, problems, ": authorization.subscribers is relative to the file it stands in")
        people, wrong = _validated(SubscribersFile, raw or {})
        wrong += [*contradictions_of(people, settings), *(() if passwords is None else unproven(people, passwords))]
        problems += _told(files.subscribers, wrong)
        subscribers = people.subscribers
    if problems:
        raise ConfigurationError(problems)
    return Loaded(settings, subscribers, passwords or {})


def _passwords(files: Files, problems: list[str]) -> dict[str, Secret] | None:
    """Read a table of users and passwords; None: it cannot be. No problem has a password in it."""
    file = files.secrets
    if file is None:
        return {}
    if file.text is None:
        problems.append(f"{files.gateway.path}: {file.why_not}")
        return None
    unreadable: list[str] = []
    raw = _toml(file, unreadable)
    if raw is None:
        problems += [f"{file.path}: {why}" for why in _of_its_lines(file.text)] or unreadable
        return None
    for user, password in raw.items():
        if isinstance(password, dict):
            problems.append(f"{file.path}: {user}: a name with dots in it stands in quotes")
        elif not isinstance(password, str) or not password:
            problems.append(f'{file.path}: {user}: is no password: "{user}" = "PASSWORD", in quotes')
    return {user: Secret(said.encode()) for user, said in raw.items() if isinstance(said, str)}


def _of_its_lines(text: str) -> Iterator[str]:
    """Yield what is wrong with the lines of a file of passwords that is not TOML, as far as it is wrong with a name.

    What is taken for a name is no part of a password: a line that is not one of a name and a password tells nothing.
    """
    if any(quotes in text for quotes in _OF_MANY_LINES):
        return
    seen: set[str] = set()
    for line in text.splitlines():
        try:
            names = tomllib.loads(line).keys()
        except tomllib.TOMLDecodeError:
            bare = _NOT_BARE.match(line)
            if bare is not None:
                yield f'{bare[1]}: such a name stands in quotes: "{bare[1]}" = "PASSWORD"'
        else:
            yield from (f"{name} stands there twice: leave one out" for name in names if name in seen)
            seen |= names


_OF_MANY_LINES = ('"""', "'''")
_NOT_BARE = re.compile(r"""\s*(?![\w.-]+\s*=)([^\s"'=#\[]+)\s*=""", re.ASCII)
"""A name without quotes around it that needs them."""


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
