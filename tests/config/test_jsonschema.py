"""The JSON Schema and the models agree: what one takes the other takes, down to the examples in the documentation."""

from __future__ import annotations

import io
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from wayleave.cli.bng import app
from wayleave.config.jsonschema import FILES, schema

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
WHOLE = """
[gateway]
name = "bng1"
state = "/var/lib/wayleave/bng1"
api = "/run/wayleave/bng1.sock"
sessions = 1000

[[tenants]]
name = "default"
services = ["udp/53"]

[[ports]]
number = 1
device = "eth1"
role = "subscriber"
trusted = true
line = "circuit"
relays = ["10.0.0.1"]

[[ports]]
number = 100
device = "eth2"
role = "network"

[[pools]]
name = "home"
network = "100.64.0.0/20"
gateway = "100.64.0.1"
exclude = ["100.64.0.2-100.64.0.9", "100.64.0.20"]
dns = ["9.9.9.9"]
lease = "1h"
options = {interface-mtu = 1492, log-servers = ["192.0.2.1"]}
reservations = [{address = "100.64.0.77", mac = "02:00:00:00:00:01", line = "1:100.7/door"}]

[authorization]
default = "home"

[punt]
new = {pps = 10, burst = 20}
"""
PEOPLE = '[[subscribers]]\nname = "alice"\nline = "1:100.7/door"\naddress = "100.64.0.78"\nlimit = 2\n'


def examples() -> list[str]:
    """The whole configurations that the documentation shows."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    blocks = [block for page in pages for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)]
    return [block for block in blocks if "[gateway]" in block]


def refused(file: str, tree: dict[str, Any]) -> bool:
    validator = jsonschema.Draft7Validator(schema(file))
    return not validator.is_valid(tree)


@pytest.mark.parametrize("file", FILES)
def test_it_is_a_schema_and_the_one_that_lies_in_the_documentation(file: str) -> None:
    jsonschema.Draft7Validator.check_schema(schema(file))
    assert json.loads((REFERENCE / f"{file}.schema.json").read_text()) == schema(file)
    out = io.StringIO()
    with redirect_stdout(out):
        app(["schema", file], result_action="return_value")
    assert json.loads(out.getvalue()) == schema(file)


def test_the_documentation_s_configurations_are_good() -> None:
    assert examples()
    for text in [*examples(), WHOLE]:
        jsonschema.Draft7Validator(schema("gateway")).validate(tomllib.loads(text))
    jsonschema.Draft7Validator(schema("subscribers")).validate(tomllib.loads(PEOPLE))


def defaults(file: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every setting that has a default: its section, its name and its schema."""
    whole = schema(file)
    for section, described in (("", whole), *whole["$defs"].items()):
        for name, setting in described["properties"].items():
            if "default" in setting:
                yield section, name, setting


@pytest.mark.parametrize("file", FILES)
def test_every_default_is_one_that_its_own_schema_takes(file: str) -> None:
    found = {
        (section, name): [error.message for error in jsonschema.Draft7Validator(whole).iter_errors(setting["default"])]
        for section, name, setting in defaults(file)
        if (whole := {"$defs": schema(file)["$defs"], **setting})
    }
    assert {place: errors for place, errors in found.items() if errors} == {}
    assert found


def test_defaults_are_written_as_an_operator_does() -> None:
    said = {(section, name): setting["default"] for section, name, setting in defaults("gateway")}
    assert said["", "pppoe"]["echo_interval"] == said["PppoeSettings", "echo_interval"] == "30s"
    assert said["PoolSettings", "promise"] == "1d"
    assert "name" not in said["", "pppoe"]
    assert said["", "tenants"] == [{"name": "default", "table": 254, "services": []}]


def test_the_reference_shows_lists_that_are_the_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| list.*? \| `(\[.*?\])` \|", (REFERENCE / "configuration.md").read_text(), re.M)
    shown = sorted((name, json.loads(default)) for name, default in rows)
    lists = sorted(
        (name, setting["default"])
        for _, name, setting in defaults("gateway")
        if setting.get("type") == "array" and "$ref" not in setting["items"]
    )
    assert shown == lists
    assert ("authentication", ["chap", "pap"]) in shown


WRONG = [
    ("sessions = 1000", "sessions = 1"), ("sessions = 1000", 'sessions = "1"'), ("sessions = 1000", "session = 1000"),
    ('name = "bng1"', ""), ('name = "bng1"', 'name = "b/1"'), ('"/var', '"var'), ('"/run', f'"/{"x" * 100}'),
    ('"udp/53"', '"sctp/53"'), ("number = 1\n", "number = 512\n"), ('"eth1"', '"eth 1"'),
    ('role = "network"', 'role = "core"'), ("trusted = true", 'trusted = "yes"'), ('["10.0.0.1"]', '"10.0.0.1"'),
    ('["10.0.0.1"]', '["fe80::1"]'), ('"100.64.0.0/20"', '"100.64.0.0"'), ('gateway = "100.64.0.1"', "gateway = 5"),
    ('"1h"', '"1 hour"'), ("interface-mtu", "mtu"), ('"02:00:00:00:00:01"', '"02:00"'), ('"1:100.7/door"', '"home"'),
    ("burst = 20", "burst = 0"), ("[authorization]", "[authorisation]"), ("[[pools]]", "[pools]"),
]  # fmt: skip


@pytest.mark.parametrize(("was", "put"), WRONG)
def test_what_the_models_refuse_the_schema_refuses(was: str, put: str) -> None:
    assert was in WHOLE
    tree = tomllib.loads(WHOLE.replace(was, put))
    assert refused("gateway", tree)
    if put != "mtu":  # known by name only to `bng check`
        with pytest.raises(ValidationError):
            FILES["gateway"].model_validate(tree)


@pytest.mark.parametrize(("was", "put"), [("limit = 2", "limit = 0"), ("name", "nome"), ("1:100.7", "100.7")])
def test_the_same_of_subscribers(was: str, put: str) -> None:
    tree = tomllib.loads(PEOPLE.replace(was, put))
    assert refused("subscribers", tree)
    with pytest.raises(ValidationError):
        FILES["subscribers"].model_validate(tree)
