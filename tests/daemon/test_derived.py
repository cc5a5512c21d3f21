"""What a configuration makes of those who decide: groups by tenant and by realm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aaa.clients import dialing
from tests.config.test_load import GOOD
from wayleave.aaa.radius import Deciders
from wayleave.config.load import load
from wayleave.daemon.derived import derive
from wayleave.proto.ppp.auth import Pap
from wayleave.session.model import Line

TENANTS = """
[[tenants]]
name = "default"
radius = "isp"
[[tenants]]
name = "b"
table = 100
[[ports]]
number = 2
device = "eth3"
role = "subscriber"
tenant = "b"
[[pools]]
name = "theirs"
tenant = "b"
network = "100.70.0.0/24"
gateway = "100.70.0.1"
[[radius.servers]]
name = "r1"
address = "192.0.2.2"
secret = "r1.secret"
[[radius.groups]]
name = "isp"
servers = ["r1"]
[[radius.groups]]
name = "isp-b"
servers = ["r1"]
realms = ["ISP-b.example"]
strip_realm = true
"""


def deciders(folder: Path, text: str) -> Deciders:
    (folder / "bng.toml").write_text(GOOD + text)
    return derive(*load(folder / "bng.toml")).deciders


def test_a_realm_goes_before_the_tenant_of_the_port(tmp_path: Path) -> None:
    found = deciders(tmp_path, TENANTS)

    def group(name: bytes, port: int = 1) -> str:
        terms = found.group(dialing(Pap(name, b"") if name else None, line=Line(port)))
        return "" if terms is None else terms.name

    assert (group(b"x@isp-B.example"), group(b"x@isp-b.example", port=2)) == ("isp-b", "isp-b")
    assert (group(b"x@elsewhere"), group(b"x"), group(b"")) == ("isp", "isp", "isp")
    assert (group(b"x@elsewhere", port=2), group(b"", port=2)) == ("", "")
    terms = found.terms("isp-b")
    assert terms is not None
    assert terms.caller.stripped == {"isp-b.example"}
    isp = found.terms("isp")
    assert isp is not None
    assert isp.caller.stripped == frozenset()


OWNS = 'table = 100\nradius = "isp-b"'


@pytest.mark.parametrize(
    ("changes", "tenant"),
    [
        ({}, "default"),
        ({"realms = ": 'pool = "theirs"\nrealms = '}, "b"),
        ({"table = 100": OWNS}, "b"),
        ({"table = 100": OWNS, "realms = ": 'pool = "residential"\nrealms = '}, "b"),
        ({"table = 100": OWNS, 'radius = "isp"': 'radius = "isp-b"'}, "default"),
    ],
    ids=["nobody's: its port's", "its pool's", "who asks no other", "who asks goes first", "both: its port's"],
)
def test_whose_client_a_user_is_that_has_a_realm(tmp_path: Path, changes: dict[str, str], tenant: str) -> None:
    text = TENANTS
    for was, put in changes.items():
        text = text.replace(was, put)
    assert deciders(tmp_path, text).tenant(dialing(Pap(b"x@isp-b.example", b""), line=Line(1))) == tenant
