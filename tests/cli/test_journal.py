"""`bng show journal MAC`: what one answer leaves out is said beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wayleave.cli.show import one_journal
from wayleave.cli.watch import View

MAC = "02:99:00:00:00:01"


class Gateway(View):
    """One that heard the MAC on lines without a session."""

    left_out = 0

    def call(self, _method: str, path: str, _body: object = None, **_query: object) -> Any:
        if path == "/journals":
            journal = {"client": f"{MAC}@1:100", "mac": MAC, "line": "1:100", "session": None, "entries": []}
            return {"journals": [journal], "left_out": self.left_out}
        return {"sessions": [], "after": None}


@pytest.mark.parametrize("left_out", [0, 4062])
def test_what_is_left_out_is_said_on_standard_error(left_out: int, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = Gateway(as_json=True)
    gateway.left_out = left_out
    one_journal(MAC, target=gateway)
    said = capsys.readouterr()
    assert [item["line"] for item in json.loads(said.out)] == ["1:100"]
    assert said.err == (f"bng: {MAC} was heard of on 4062 more lines; these are the last\n" if left_out else "")
