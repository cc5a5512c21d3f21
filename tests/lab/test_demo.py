"""The demo: every claim holds, every mutant turns its claim red, and nothing is left behind."""

from __future__ import annotations

import io
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from wayleave.lab import demo
from wayleave.lab.claims import Story
from wayleave.lab.demo import Outcome, Verdict
from wayleave.lab.namespace import ROOT, run
from wayleave.lab.nexus_claims import SharedStory
from wayleave.lab.scene import CLAIMS, Claim, Scene
from wayleave.lab.waiting import wait_until

HOME = Path(__file__).parents[2]


Stage = Callable[[type[Scene]], Scene]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Scenes, each built when it is first asked for."""
    scenes: dict[type[Scene], Scene] = {}
    with ExitStack() as stack:

        def staged(kind: type[Scene]) -> Scene:
            if kind not in scenes:
                scenes[kind] = stack.enter_context(kind.staged())
            return scenes[kind]

        yield staged


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_the_claim_holds(stage: Stage, claim: Claim) -> None:
    verdict = demo.judge(stage(claim.scene), claim)
    assert verdict.outcome is Outcome.HOLDS, verdict.evidence


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.mutant.name)
def test_the_mutant_turns_its_claim_red(claim: Claim) -> None:
    verdict = demo.run_mutant(claim)
    assert verdict.outcome is Outcome.BROKEN, verdict.evidence


def test_every_claim_has_a_mutant_of_its_own() -> None:
    assert len({claim.mutant.name for claim in CLAIMS}) == len({claim.name for claim in CLAIMS}) == len(CLAIMS)


def test_the_closing_table_names_claims_outcomes_and_evidence() -> None:
    console = Console(file=io.StringIO(), width=200)
    outcomes = list(Outcome)
    verdicts = [Verdict(claim, outcomes[i % 3], f"seen {i}", 0.1) for i, claim in enumerate(CLAIMS)]
    console.print(demo.closing_table(verdicts))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for verdict in verdicts:
        assert all(word in text for word in (verdict.claim.name, verdict.outcome.value, verdict.evidence))


def test_one_claim_alone_from_the_command_line(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "wayleave.lab.demo", "--only", "internet", "--pcap", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 claims hold" in done.stdout
    assert (tmp_path / "trunk.pcap").stat().st_size > (tmp_path / "core.pcap").stat().st_size > 24


def test_a_mutant_from_the_command_line_turns_its_claim_red_as_it_should() -> None:
    words = [sys.executable, "-m", "wayleave.lab.demo", "--mutant", "antispoof-off"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the mutant antispoof-off turned the claim antispoof red, as it should" in done.stdout


def test_a_mutant_that_changes_nothing_is_an_error() -> None:
    (claim,) = (item for item in CLAIMS if item.name == "antispoof")
    holds = Verdict(claim, Outcome.HOLDS, "", 0.1)
    good, words = demo._summary([holds], claim.mutant)
    assert not good
    assert "did not turn its claim red" in words


TOUR = re.findall(r"^    \.venv/bin/bng (.*?)(?: +#.*)?$", (HOME / "README.md").read_text(), re.MULTILINE)


def test_the_readmes_tour_runs_in_the_lab_that_the_demo_leaves(stage: Stage) -> None:
    """Also behind all claims, in the order that the page has."""
    assert len(TOUR) > 10
    story = stage(Story)
    assert isinstance(story, Story)
    for claim in [item for item in CLAIMS if item.scene is Story][-4:]:
        demo.judge(story, claim)
    story.running()
    stand_for = {
        "FILE": str(story.lab.gateway.config_file),
        "ADDRESS": str(demo._somebody_on(story)),
        "PCAP": str(story.lab.folder / demo.PCAP),
    }
    for command in TOUR:
        words = [stand_for.get(word, word) for word in shlex.split(command)]
        assert story.lab.gateway.bng(*words), command


def test_what_is_shown_of_the_lab_of_two_gateways_can_be_asked(stage: Stage) -> None:
    story = stage(SharedStory)
    assert isinstance(story, SharedStory)
    story.running()
    _, *commands = demo._at_two(story)
    said = [run(shlex.split(command)) for command in commands]
    assert len(said) == 5
    assert all("home" in text for text in said[:2])
    assert all(site.instance in said[2] for site in story.lab.sites)


def test_keep_stays_until_ctrl_c_and_leaves_nothing() -> None:
    words = [sys.executable, "-m", "wayleave.lab.demo", "--keep", "--only", "lease"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        prefix = f"wl-{process.pid}-"
        line = ""
        while "show session " not in line:
            line = process.stdout.readline()
            assert line, "the demo ended"
        assert any(path.name.startswith(prefix) for path in ROOT.iterdir())
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(20) == 0
    wait_until(lambda: not any(path.name.startswith(prefix) for path in ROOT.iterdir()), "end of the namespaces")
