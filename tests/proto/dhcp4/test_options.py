"""The registry: every row has a vector, which is read, written, configured and spoilt."""

from typing import Any

import pytest

from tests.vectors import feed, load
from wayleave.proto.dhcp4 import options
from wayleave.proto.dhcp4.options import BY_CODE, BY_NAME, Option

VECTORS = load("dhcp4_options")
ROWS = sorted(BY_CODE.values(), key=lambda option: option.code)


@pytest.mark.parametrize("option", ROWS, ids=lambda option: option.name)
def test_every_row_has_a_vector(option: Option[Any]):
    assert any(row["code"] == option.code for row in VECTORS), f"add a vector for {option.name}"
    assert option.source


def test_codes_and_names_are_unique():
    rows = [value for value in vars(options).values() if isinstance(value, Option)]
    assert len(rows) == len(BY_CODE) == len(BY_NAME) >= 40
    assert all(name == name.lower() and "_" not in name and " " not in name for name in BY_NAME)
    assert not {0, 52, 255} & BY_CODE.keys(), "these belong to the message's framing"


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: f"{row['code']} {row['meaning']}")
def test_vectors(row):
    option = BY_CODE[row["code"]]
    data = bytes.fromhex(row["hex"])
    value = option.decode(data)
    assert value == option.codec.read(row["value"])
    assert option.encode(value) == data
    assert option.configured(row["value"]) == data
    feed(option.decode, data)


def test_bad_configuration_is_refused_in_words():
    with pytest.raises(ValueError, match="'1h' is not a whole number"):
        options.LEASE_TIME.configured("1h")
