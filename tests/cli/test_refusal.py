"""A command line that makes no sense is told in one line what is wrong, and where help is; the exit status is 2."""

from __future__ import annotations

import sys
from unittest import mock

import pytest

from wayleave.cli.bng import main

WORDS = {
    "shw": "there is no command shw: is show meant? `bng --help` says what there is",
    "show sesions": "there is no command sesions: is sessions meant? `bng show --help` says what there is",
    "show session": "WHICH is not said; `bng show session --help` says what there is",
    "show session 1 2 3": "2 3: more words than this command takes; `bng show session --help` says what there is",
    "show sessions --subscribr x": (
        "there is no option --subscribr: is --subscriber meant? `bng show sessions --help` says what there is"
    ),
    "show sessions --subscribr=x": (
        "there is no option --subscribr: is --subscriber meant? `bng show sessions --help` says what there is"
    ),
    "show sessions --zzz": "there is no option --zzz; `bng show sessions --help` says what there is",
    "show sessions --limit x": "--limit: x is not a whole number; `bng show sessions --help` says what there is",
    "show sessions --limit 0": "--limit: must be at least 1, not 0; `bng show sessions --help` says what there is",
    "capture 1 --seconds x": "--seconds: x is not a number; `bng capture --help` says what there is",
    "explain --packet 0": "--packet: must be at least 1, not 0; `bng explain --help` says what there is",
    "schema foo": "FILE: foo is not gateway or subscribers; `bng schema --help` says what there is",
    "run --config": "--config needs a value; `bng run --help` says what there is",
    "explain udp from --hex 00 --config /dev/null": "say one packet: in words, or with --hex, or with --pcap",
    "show pools --watch 0": "--watch 0.0: say how many seconds lie between two looks",
    "show pools --config /nonexistent": "/nonexistent: No such file or directory: say --config FILE or --socket PATH",
    "show pools --config /dev/null": "/dev/null: gateway.api is missing: `bng check /dev/null` says all that is wrong",
    "show pools --socket /nonexistent": (
        "no gateway answers at /nonexistent: No such file or directory: is `bng run` running?"
    ),
    "explain --pcap /nonexistent": "/nonexistent: No such file or directory",
}


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked")
@pytest.mark.parametrize("words", WORDS)
def test_it_is_told_in_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch.object(sys, "argv", ["bng", *words.split()]), pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert (end.value.code, said.out, said.err) == (2, "", f"bng: {WORDS[words]}\n")
