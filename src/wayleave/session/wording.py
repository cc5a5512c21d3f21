"""What pydantic finds wrong with a value, in words that say what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from wayleave.session.settings import Leaf, labels

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]

_WANTED = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "string_type": 'must be text, in quotes: "…"',
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} items, and has {actual_length}",
    "dict_type": "must be a table of names and values",
}


class Places:
    """Where things stand in a file, as text: `tree` knows what its sections are called."""

    def __init__(self, tree: Leaf) -> None:
        self._tree = tree
        self._labels: dict[int, list[str]] = {}

    def where(self, location: Location) -> str:
        """Write ("pools", 0, "network") as pools[residential].network.

        A plain value in a list has no place of its own: what is wrong with it shows it.
        """
        text = ""
        at: Any = self._tree
        for step in location:
            if isinstance(step, str):
                text, at = f"{text}.{step}", getattr(at, step, None)
            elif _sections(at):
                text, at = f"{text}[{self._called(at)[step]}]", at[step]
        return text.lstrip(".") or "the file"

    def _called(self, items: Sequence[Leaf]) -> list[str]:
        found = self._labels.get(id(items))
        if found is None:
            found = self._labels[id(items)] = labels(items)
        return found


def _sections(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, Leaf) for item in value)


def what(model: type[BaseModel], error: ErrorDetails) -> str:
    """Say what is wrong, and what is wanted. `model` is what the whole was validated against."""
    kind, given = error["type"], error["input"]
    match kind:
        case "extra_forbidden":
            return f"there is no such setting{_perhaps(model, error['loc'])}"
        case "model_type":
            return f"must be a table{_shown(given)}"
        case "tuple_type" if isinstance(given, dict):
            return f"is one table, and may be there several times: write [[{_section(error['loc'])}]]"
        case "tuple_type":
            return f"must be a list, in brackets: […]{_shown(given)}"
        case _:
            return plainly(error)


def plainly(error: ErrorDetails) -> str:
    """Say what is wrong with a value by itself, wherever it stands."""
    kind, given = error["type"], error["input"]
    match kind:
        case "missing":
            return _WANTED[kind]
        case "literal_error" | "enum":
            return f"must be {_quoted(error['ctx']['expected'])}{_shown(given)}"
        case _ if kind in _WANTED:
            return _WANTED[kind].format(**error.get("ctx", {})) + _shown(given)
        case _:
            return error["msg"].removeprefix("Value error, ")


def _section(location: Location) -> str:
    return ".".join(step for step in location if isinstance(step, str))


def _quoted(expected: str) -> str:
    return expected.replace("'", '"')


def _shown(given: Any) -> str:
    """The value, as TOML has it, if it is short."""
    match given:
        case bool():
            return f", not {str(given).lower()}"
        case str() if 0 < len(given) <= 40:
            return f', not "{given}"'
        case int() | float():
            return f", not {given}"
        case _:
            return ""


def _perhaps(model: type[BaseModel], location: Location) -> str:
    """Name the setting that was probably meant."""
    names, said = _names(model, location[:-1]), str(location[-1]).lower()
    close = get_close_matches(said, names, 1, 0.65) or [name for name in names if said and name.startswith(said)]
    return f": is {' or '.join(close)} meant?" if close else ""


def _names(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The settings of the section at `path`."""
    for step in path:
        if isinstance(step, int):
            continue
        inner = section_of(model.model_fields[step].annotation)[0]
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def section_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model of a field that is a section, and whether the section may be there several times."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part, get_origin(annotation) is tuple
    return None, False
