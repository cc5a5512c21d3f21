"""Read the configuration, and say everything that is wrong with it at once, each with its path."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

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


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` is one line each: FILE: path: what is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path) -> tuple[Configuration, tuple[Subscriber, ...]]:
    """Return the configuration at `path` and the subscribers it names.

    Raises: ConfigurationError with every problem found. What one value breaks is not asked about the others: they are
    checked against each other all the same.
    """
    problems: list[str] = []
    raw = _read(path, problems)
    if raw is None:
        raise ConfigurationError(problems)
    tree, wrong = _validated(Configuration, raw)
    known = parts(raw)
    problems += _told(path, [*wrong, *contradictions(known)])
    subscribers: tuple[Subscriber, ...] = ()
    if known.authorization is not None and known.authorization.subscribers is not None:
        subscribers = _subscribers(path.parent / known.authorization.subscribers, known, problems)
    if problems or tree is None:
        raise ConfigurationError(problems)
    return tree, subscribers


def _subscribers(path: Path, known: Parts, problems: list[str]) -> tuple[Subscriber, ...]:
    raw = _read(path, problems)
    if raw is None:
        return ()
    file, wrong = _validated(SubscribersFile, raw)
    good = dict(enumerate(file.subscribers)) if file is not None else items(Subscriber, raw.get("subscribers")).good
    problems += _told(path, [*wrong, *contradictions_of(good, known)])
    return file.subscribers if file is not None else ()


def _read(path: Path, problems: list[str]) -> dict[str, Any] | None:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: is not TOML: {error}")
    return None


def _validated(model: type[Tree], raw: dict[str, Any]) -> tuple[Tree | None, list[Problem]]:
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        return None, [(where(item["loc"]), what(model, item)) for item in error.errors()]


def _told(path: Path, problems: Iterable[Problem]) -> list[str]:
    return [f"{path}: {place}: {words}" for place, words in problems]
