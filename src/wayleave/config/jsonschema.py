"""The configuration as JSON Schema, for editors: from the same models that read it.

An editor knows names, kinds and bounds, and completes; what values say of each other only `bng check` knows. Source:
JSON Schema draft 7, which the TOML language servers speak.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from wayleave.config.schema import Configuration, SubscribersFile
from wayleave.net.duration import spoken_duration
from wayleave.proto.dhcp4.options import BY_NAME
from wayleave.proto.dhcp4.server import BY_THE_SERVER

DRAFT = "http://json-schema.org/draft-07/schema#"
FILES: dict[str, type[BaseModel]] = {"gateway": Configuration, "subscribers": SubscribersFile}
"""The files that an operator writes, by what they are about."""


def schema(file: str) -> dict[str, Any]:
    """Return the schema of one of `FILES`."""
    whole = {"$schema": DRAFT} | _simple(FILES[file].model_json_schema())
    pools = whole.get("$defs", {}).get("PoolSettings")
    if pools is not None:
        pools["properties"]["options"] |= {"properties": _options(), "additionalProperties": False}
    return whole


def _options() -> dict[str, Any]:
    """The DHCPv4 options that a pool may set, by name."""
    return {
        name: {"description": f"DHCPv4 option {option.code}: {option.codec.name}. {option.source}"}
        for name, option in sorted(BY_NAME.items())
        if option.code not in BY_THE_SERVER
    }


def _simple(part: dict[str, Any]) -> dict[str, Any]:
    """Leave out what TOML has no word for (null), and titles that only repeat names; write durations as text."""
    if "anyOf" in part:
        (kind,) = (item for item in part["anyOf"] if item != {"type": "null"})
        part = {key: value for key, value in part.items() if key != "anyOf"} | kind
    told: dict[str, Any] = {}
    for key, value in part.items():
        match key, value:
            case ("title", str()) | ("default", None) | ("restart", _):
                continue
            case "default", int() if part.get("type") == "string":
                told[key] = spoken_duration(value)
            case (("properties" | "$defs"), dict()):
                told[key] = {name: _simple(item) for name, item in value.items()}
            case "items", dict():
                told[key] = _simple(value)
            case _:
                told[key] = value
    return told
