"""What is told of a command line that makes no sense: what is wrong with which word, and where help is."""

from __future__ import annotations

from difflib import get_close_matches
from typing import get_args

from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from wayleave.cli import terminal

_KINDS: dict[object, str] = {int: "a whole number", float: "a number"}


def from_one(_: object, number: int) -> None:
    """Refuse what is no place in a row and no number of things."""
    if number < 1:
        raise ValueError(f"must be at least 1, not {number}")


def told(error: CycloptsError) -> str:
    """Say it in one line."""
    what = _what(error)
    command = " ".join((terminal.program, *(error.command_chain or ())))
    return f"{what}{' ' if what.endswith('?') else '; '}`{command} --help` says what there is"


def _what(error: CycloptsError) -> str:
    match error:
        case UnknownCommandError():
            word = (error.unused_tokens or [""])[0]
            return f"there is no command {word}{_perhaps(word, _commands(error))}"
        case UnknownOptionError():
            word = (error.token.keyword or error.token.value).partition("=")[0]
            names = [name for argument in error.argument_collection for name in argument.names]
            return f"there is no option {word}{_perhaps(word, names)}"
        case UnusedCliTokensError():
            return f"{' '.join(error.unused_tokens or ())}: more words than this command takes"
        case CoercionError():
            return f"{_name(error)}: {error.token.value if error.token else ''} is not {_wanted(error)}"
        case ValidationError():
            return f"{_name(error)}: {error.exception_message}"
        case MissingArgumentError():
            name = _name(error)
            return f"{name} needs a value" if name.startswith("--") else f"{name} is not said"
        case _:
            error.verbose = False
            return " ".join(str(error).split())


def _name(error: CycloptsError) -> str:
    """The option or word that it is about."""
    name = error.argument.name if error.argument is not None else "a value"
    return name if name.startswith("--") else name.upper()


def _wanted(error: CoercionError) -> str:
    choices = [str(choice) for choice in get_args(error.target_type)]
    return " or ".join(choices) if choices else _KINDS.get(error.target_type, "what is wanted here")


def _commands(error: CycloptsError) -> list[str]:
    return [name for name in error.app or () if not name.startswith("-")]


def _perhaps(word: str, names: list[str]) -> str:
    close = get_close_matches(word, names, 1, 0.6)
    return f": is {close[0]} meant?" if close else ""
