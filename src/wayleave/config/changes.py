"""What differs between two configurations: each difference with its path, and whether it needs a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from msgspec import Struct
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wayleave.aaa.local import Subscriber
from wayleave.config.schema import Configuration
from wayleave.net.duration import written_duration
from wayleave.net.rate import written_rate
from wayleave.net.secret import Secret
from wayleave.net.units import BitsPerSecond, Ns
from wayleave.session.settings import Leaf

NAMED = 20
"""Subscribers and users that are told by name, at most."""


class Change(Struct, frozen=True):
    """One difference; `restart`: it only counts from the next start, and what that takes."""

    path: str
    what: str
    restart: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def changes(old: Configuration, new: Configuration) -> list[Change]:
    """Return what differs, in the order of the file."""
    return list(_between("", old, new))


def restart_of(model: type[BaseModel], info: FieldInfo, absent: bool = False) -> str:
    """Return what it takes for a setting of `model` that only counts from the next start, or "".

    `absent`: for its being taken out.
    """
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    own = str((absent and extra.get("restart_absent")) or extra.get("restart", ""))
    return own or getattr(model, "RESTART", "")


def _between(prefix: str, old: BaseModel, new: BaseModel) -> Iterator[Change]:
    for name, info in type(new).model_fields.items():
        path = f"{prefix}.{name}" if prefix else name
        was, now = getattr(old, name), getattr(new, name)
        if was == now:
            continue
        restart = restart_of(type(new), info, absent=now is None)
        if isinstance(was, BaseModel) and isinstance(now, BaseModel):
            yield from _between(path, was, now)
        elif isinstance(was, BaseModel) or isinstance(now, BaseModel):
            yield Change(path, "is gone" if now is None else "is new", restart)
        elif isinstance(now, tuple) and any(isinstance(item, Leaf) for item in (*was, *now)):
            yield from _among(path, was, now, restart)
        elif isinstance(now, dict):
            yield from _of_a_table(path, was, now, info, restart)
        else:
            yield _changed(path, was, now, info, restart)


def _among(path: str, old: Sequence[Leaf], new: Sequence[Leaf], restart: str) -> Iterator[Change]:
    """Compare two lists of sections by what their items are called."""
    before, after = ({item.label: item for item in items} for items in (old, new))
    for name, item in after.items():
        if name not in before:
            yield Change(f"{path}[{name}]", "is new", restart)
        else:
            yield from _between(f"{path}[{name}]", before[name], item)
    for name in before.keys() - after.keys():
        yield Change(f"{path}[{name}]", "is gone", restart)
    if restart and before.keys() == after.keys() and [*before] != [*after]:
        yield Change(path, "another order", restart)


def _of_a_table(path: str, old: dict[str, Any], new: dict[str, Any], info: FieldInfo, restart: str) -> Iterator[Change]:
    """Compare two tables of names and values."""
    for name in dict.fromkeys((*new, *old)):
        was, now = old.get(name), new.get(name)
        if was != now:
            yield _changed(f"{path}.{name}", was, now, info, restart)


def _changed(path: str, was: Any, now: Any, info: FieldInfo, restart: str) -> Change:
    return Change(path, f"{_said(was, info)} → {_said(now, info)}", restart)


def _said(value: Any, info: FieldInfo) -> str:
    """A value as the file has it."""
    match value:
        case None:
            return "absent"
        case bool():
            return str(value).lower()
        case int() if Ns in _units(info):
            return f'"{written_duration(value)}"'
        case int() if BitsPerSecond in _units(info):
            return f'"{written_rate(value)}"'
        case int() | float():
            return str(value)
        case tuple() | list():
            return f"[{', '.join(_said(_range(item), info) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{key} = {_said(item, info)}' for key, item in value.items())}}}"
        case _:
            return f'"{value}"'


def _units(info: FieldInfo) -> set[Any]:
    """What a setting is in, where that is said; it may be absent as well (`Duration | None`)."""
    return {
        get_args(kind)[0] if get_origin(kind) is Annotated else kind
        for kind in (info.annotation, *get_args(info.annotation))
    }


def _range(item: Any) -> Any:
    """Two addresses, first and last, as the file has them."""
    if not isinstance(item, tuple):
        return item
    first, last = item
    return first if first == last else f"{first}-{last}"


def subscriber_changes(old: Sequence[Subscriber], new: Sequence[Subscriber]) -> list[Change]:
    """Return what differs between two subscribers files, by who is meant."""
    before, after = ({entry.key: entry for entry in entries} for entries in (old, new))
    found = {
        "is new": [entry for key, entry in after.items() if key not in before],
        "is gone": [entry for key, entry in before.items() if key not in after],
        "has changed": [entry for key, entry in after.items() if key in before and before[key] != entry],
    }
    return _named("subscribers", {what: [entry.name for entry in entries] for what, entries in found.items()})


def password_changes(old: Mapping[str, Secret], new: Mapping[str, Secret]) -> list[Change]:
    """Return whose passwords differ, and no password."""
    found = {
        "is new": [user for user in new if user not in old],
        "is gone": [user for user in old if user not in new],
        "has changed": [user for user in new if user in old and old[user] != new[user]],
    }
    return _named("authorization.secrets", found)


def _named(path: str, found: Mapping[str, Sequence[str]]) -> list[Change]:
    """What became of the items of a file, one by one unless they are many."""
    told: list[Change] = []
    for what, names in found.items():
        if len(names) > NAMED:
            told.append(Change(path, f"{len(names)}: each {what}"))
        else:
            told += [Change(f"{path}[{name}]", what) for name in names]
    return told
