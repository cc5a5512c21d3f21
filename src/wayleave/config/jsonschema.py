"""The configuration as JSON Schema, for editors: from the same models that read it.

An editor knows names, kinds and bounds, and completes; what values say of each other only `bng check` knows. Source:
JSON Schema draft 7, which the TOML language servers speak.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from wayleave.config.schema import Configuration, SubscribersFile
from wayleave.net.duration import written_duration
from wayleave.proto.dhcp4.options import BY_NAME
from wayleave.proto.dhcp4.server import BY_THE_SERVER

DRAFT = "http://json-schema.org/draft-07/schema#"
FILES: dict[str, type[BaseModel]] = {"gateway": Configuration, "subscribers": SubscribersFile}
"""The files that an operator writes, by what they are about."""


def schema(file: str) -> dict[str, Any]:
    """Return the schema of one of `FILES`."""
    whole = {"$schema": DRAFT} | _simple(FILES[file].model_json_schema())
    sections = whole["$defs"]
    for section in (whole, *sections.values()):
        for setting in section["properties"].values():
            if "default" in setting:
                setting["default"] = written(setting["default"], setting, sections)
    pools = sections.get("PoolSettings")
    if pools is not None:
        pools["properties"]["options"] |= {"properties": _options(), "additionalProperties": False}
    return whole


def written(value: Any, kind: dict[str, Any], sections: Mapping[str, Any]) -> Any:
    """Return a value of pydantic's as a file has it: nothing of what is absent, durations as text.

    `kind` is its schema, `sections` are those that a schema refers to.
    """
    kind = sections.get(kind.get("$ref", "").removeprefix("#/$defs/"), kind)
    match value:
        case dict():
            kinds = kind.get("properties", {})
            return {
                name: written(item, kinds.get(name, {}), sections) for name, item in value.items() if item is not None
            }
        case list() | tuple():
            return [written(item, kind.get("items", {}), sections) for item in value]
        case int() if kind.get("type") == "string":
            return written_duration(value)
        case _:
            return value


def _options() -> dict[str, Any]:
    """The DHCPv4 options that a pool may set, by name."""
    return {
        name: {"description": f"DHCPv4 option {option.code}: {option.codec.name}. {option.source}"}
        for name, option in sorted(BY_NAME.items())
        if option.code not in BY_THE_SERVER
    }


def _simple(part: dict[str, Any]) -> dict[str, Any]:
    """Leave out what TOML has no word for (null), and titles that only repeat names."""
    if "anyOf" in part:
        (kind,) = (item for item in part["anyOf"] if item != {"type": "null"})
        part = {key: value for key, value in part.items() if key != "anyOf"} | kind
    told: dict[str, Any] = {}
    for key, value in part.items():
        match key, value:
            case ("title", str()) | ("default", None) | ("restart" | "restart_absent", _):
                continue
            case (("properties" | "$defs"), dict()):
                told[key] = {name: _simple(item) for name, item in value.items()}
            case "items", dict():
                told[key] = _simple(value)
            case _:
                told[key] = value
    return told
