"""Read the configuration, and say everything that is wrong with it at once, each with its path."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from wayleave.aaa.local import Subscriber
from wayleave.config.schema import Configuration, SubscribersFile, contradictions


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` is one line each: FILE: path: what is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path) -> tuple[Configuration, tuple[Subscriber, ...]]:
    """Return the configuration at `path` and the subscribers it names.

    Raises: ConfigurationError with every problem found.
    """
    problems: list[str] = []
    tree = _read(path, Configuration, problems)
    subscribers: tuple[Subscriber, ...] = ()
    if isinstance(tree, Configuration) and tree.authorization.subscribers is not None:
        beside = path.parent / tree.authorization.subscribers
        file = _read(beside, SubscribersFile, problems)
        subscribers = file.subscribers if isinstance(file, SubscribersFile) else ()
    if isinstance(tree, Configuration):
        problems += [f"{path}: {where}: {what}" for where, what in contradictions(tree, subscribers)]
    if problems or not isinstance(tree, Configuration):
        raise ConfigurationError(problems)
    return tree, subscribers


def _read(path: Path, model: type[BaseModel], problems: list[str]) -> BaseModel | None:
    try:
        return model.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: is not TOML: {error}")
    except ValidationError as error:
        problems += [f"{path}: {_where(item['loc'])}: {_what(item['type'], item['msg'])}" for item in error.errors()]
    return None


def _where(location: tuple[int | str, ...]) -> str:
    """Write ("pools", 0, "network") as pools[0].network."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".") or "the file"


def _what(kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return "there is no such setting"
        case "missing":
            return "is missing"
        case _:
            return message.removeprefix("Value error, ")
