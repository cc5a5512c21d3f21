"""Giving up capabilities, in a process of its own: it is for good."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, subprocess, threading
from pathlib import Path
from wayleave.io import privileges as p
assert p.missing() == []
p.keep_only(("cap_net_raw",))
left = {p.CAPABILITIES["cap_net_raw"]}
assert p.held() == left
seen = []
thread = threading.Thread(target=lambda: seen.append(p.held()))
thread.start()
thread.join()
assert seen == [left], "a thread has more"
try:
    p.keep_only(p.STARTING)
except OSError as error:
    print("refused", error)
assert p.held() == left, "what is gone came back"
child = subprocess.run(["grep", "CapEff", "/proc/self/status"], capture_output=True, text=True).stdout
assert int(child.split()[1], 16) == 1 << p.CAPABILITIES["cap_net_raw"], "a child has more"
print(p.missing())
"""


def test_what_was_given_up_is_gone_for_this_process_its_threads_and_its_children() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['cap_net_admin', 'cap_sys_admin', 'cap_perfmon', 'cap_bpf']\n"
