"""What clients and servers say is printed as it is, by every command: no markup, no emoji, nothing a terminal obeys."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from wayleave import cli
from wayleave.api.capture import CaptureView
from wayleave.api.diagnose import DiagnosisView
from wayleave.api.explain import Verdict
from wayleave.api.journal import JournalsView, JournalView
from wayleave.api.radius import RadiusView
from wayleave.api.schema import DhcpView, Page, PlanView, PoolView, PortView, PuntView, SessionView
from wayleave.cli import client
from wayleave.cli.bng import main

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")

HOSTILE = "[/red]:cd:[[b]]\x1b[31m\x7f\x9b\u202e\udc80\n."
SHOWN = r"[/red]:cd:[[b]]\x1b[31m\x7f\x9b\u202e\udc80\n."
JSON = json.dumps(HOSTILE).replace("\x7f", r"\u007f")


def filled(schema: dict[str, Any], whole: dict[str, Any] | None = None) -> Any:
    """An answer of this JSON schema, with `HOSTILE` wherever it has a string, in its keys as well."""
    whole = whole or schema
    if "$ref" in schema:
        return filled(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], whole)
    match schema["type"]:
        case "object" if "properties" in schema:
            return {key: filled(item, whole) for key, item in schema["properties"].items()}
        case "object":
            return {HOSTILE: filled(schema["additionalProperties"], whole)}
        case "array":
            return [filled(schema["items"], whole)]
        case "string":
            return HOSTILE
        case kind:
            return {"integer": 1, "number": 1.0, "boolean": False}[kind]


def of(model: Any) -> Any:
    return filled(model.model_json_schema())


PLAN = of(PlanView) | {"refused": [], "sessions": {"kept": 0, "moved": 0, "ended": 0}}
JOURNALS = of(JournalsView)
ANSWERS: dict[str, Any] = {
    "GET /sessions": of(Page) | {"after": None},
    "GET /sessions/1": of(SessionView),
    "DELETE /sessions/1": None,
    "GET /sessions/1/journal": of(JournalView),
    "GET /journals": JOURNALS,
    "GET /drops": {HOSTILE: 1},
    "GET /dhcp": of(DhcpView),
    "GET /punt": of(PuntView),
    "GET /healthz": {"version": HOSTILE, "name": "gateway"},
    "GET /readyz": {"ready": False, "why": [HOSTILE]},
    "GET /radius": of(RadiusView),
    "GET /pools": [of(PoolView)],
    "GET /ports": [of(PortView)],
    "GET /counters": {HOSTILE: {HOSTILE: HOSTILE}},
    "POST /explain": of(Verdict),
    "GET /diagnose": of(DiagnosisView),
    "GET /plan": PLAN,
    "POST /reload": PLAN | {"refused": [HOSTILE]},
    "GET /capture": of(CaptureView),
}

COMMANDS = (
    "show sessions", "show session 1", "show session 1 --journal", "show journal 02:00:00:00:00:01", "show drops",
    "show dhcp", "show punt", "show version", "show radius", "show pools", "show ports", "show counters",
    "explain icmp from 1 to 1.1.1.1", "diagnose 1", "plan", "reload", "clear session 1",
)  # fmt: skip


OUR_OWN = "\x1b\\[[01]?m"
"""Headings are bold."""


class Gateway:
    """One that says nothing but that."""

    def call(self, _path: str, method: str, target: str, *_: object, **__: object) -> Any:
        return ANSWERS[f"{method} {target}"]

    @contextmanager
    def stream(self, *_: object, **__: object) -> Iterator[Iterator[bytes]]:
        yield iter((b"frame",))


class Terminal(io.StringIO):
    """One that is as wide as `COLUMNS` says."""

    def isatty(self) -> bool:
        return True


def run(*words: str, terminal: bool = False) -> tuple[str, str]:
    """What a command prints, and says beside it."""
    gateway = Gateway()
    with (
        mock.patch.object(sys, "argv", ["bng", *words]),
        mock.patch.multiple(client, call=gateway.call, stream=gateway.stream),
        mock.patch.dict("os.environ", {"COLUMNS": "2000", "TERM": "xterm"}),
        redirect_stdout(Terminal() if terminal else io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as beside,
        pytest.raises(SystemExit),
    ):
        main()
    return re.sub(OUR_OWN, "", out.getvalue()), beside.getvalue()


def shows_it(printed: str) -> bool:
    return SHOWN in printed and all(line.isprintable() for line in printed.split("\n"))


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_printed_as_it_is(command: str, terminal: bool) -> None:
    out, beside = run(*command.split(), "--socket", "/nowhere", terminal=terminal)
    assert shows_it(out + beside)


@pytest.mark.parametrize("command", [item for item in COMMANDS if not item.startswith("clear")])
def test_json_is_exact_and_has_nothing_that_a_terminal_obeys(command: str) -> None:
    out, _ = run(*command.split(), "--json", "--socket", "/nowhere")
    assert all(line.isprintable() for line in out.split("\n"))
    assert JSON in out


def test_what_is_said_of_a_capture(tmp_path: Path) -> None:
    for words in ((), ("--json",)):
        out, beside = run("capture", "1", "-w", f"{tmp_path}/x", "--socket", "/nowhere", *words)
        assert shows_it(beside) if not words else JSON in out


@pytest.mark.parametrize("command", ["check", "doctor"])
def test_what_is_said_of_a_configuration(command: str, tmp_path: Path) -> None:
    file = tmp_path / "bng.toml"
    file.write_text('"[/red]:cd:\\u001b[31m" = 1\n')
    out, beside = run(command, "--config", str(file))
    assert r"[/red]:cd:\x1b[31m" in beside
    assert all(line.isprintable() for line in (out + beside).split("\n"))


def test_what_the_terminal_has_no_octets_for_is_no_reason_to_end() -> None:
    """A hostname may have any octet, and a terminal be of the last century."""
    octets = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(octets, "latin-1")) as out:
        from wayleave.cli.terminal import say, table

        say("caf\xe9 \ufffd")
        table(("",), [["caf\xe9 \ufffd"]])
        out.flush()
    assert octets.getvalue().splitlines()[0] == b"caf\xe9 \\ufffd"
    assert octets.getvalue().splitlines()[-1].strip() == b"caf\xe9 \\ufffd"


def test_nothing_is_printed_elsewhere() -> None:
    """A new command cannot forget it."""
    for path in Path(cli.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if path.name != "terminal.py":
            assert "print" not in called, path.name
            assert not any(module and module.split(".")[0] == "rich" for module in imported), path.name
