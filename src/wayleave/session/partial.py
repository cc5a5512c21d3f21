"""A file with faults, read as far as it makes sense: what is wrong with one value hides nothing about the others."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from wayleave.session.settings import Leaf
from wayleave.session.wording import section_of

Section = TypeVar("Section", bound=Leaf)

_NOTHING = object()


def partial(model: type[Section], raw: object) -> Section:
    """Return `raw` as a `model` that has no attribute where a value makes no sense, or is missing and must not be.

    A list keeps every section, be it one without any attribute; of plain values those that make sense, if any does.
    """
    try:
        return model.model_validate(raw)
    except ValidationError:
        pass
    given = raw if isinstance(raw, dict) else dict.fromkeys(model.model_fields, _NOTHING)
    read = {name: _setting(model, name, given[name]) for name in model.model_fields.keys() & given.keys()}
    made = model.model_construct(None, **{name: value for name, value in read.items() if value is not _NOTHING})
    for name, value in read.items():
        if value is _NOTHING:
            vars(made).pop(name, None)  # or its default would stand there
    return made


def _setting(model: type[Leaf], name: str, raw: object) -> Any:
    if raw is _NOTHING:
        return _NOTHING
    section, several = section_of(model.model_fields[name].annotation)
    if section is not None and issubclass(section, Leaf):
        if not several:
            return partial(section, raw)
        return tuple(partial(section, item) for item in raw) if isinstance(raw, list) else _NOTHING
    if not isinstance(raw, list):
        return _value(model, name, raw)
    whole = _value(model, name, tuple(raw))
    if whole is not _NOTHING:
        return whole
    each = [_value(model, name, (item,)) for item in raw]
    return tuple(item for items in each if items is not _NOTHING for item in items) or _NOTHING


def _value(model: type[Leaf], name: str, raw: object) -> Any:
    try:
        return _adapter(model, name).validate_python(raw)
    except ValidationError:
        return _NOTHING


@cache
def _adapter(model: type[Leaf], name: str) -> TypeAdapter[Any]:
    info = model.model_fields[name]
    described: Any = Annotated[info.annotation, info]
    return TypeAdapter(described, config=model.model_config)
