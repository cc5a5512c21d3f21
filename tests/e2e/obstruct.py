"""A host link that the gateway cannot put back: somebody else's program is on its end of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from wayleave.daemon.hostlinks import LOOK_EVERY_S
from wayleave.dataplane import objects, syscall
from wayleave.lab import access_node
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until


@contextmanager
def obstructed(lab: Lab, tenant: str = "default") -> Iterator[None]:
    """Make the link anew with a program on it while the gateway stands still; at the end, let it take the link up."""
    space, process, kernel, ours = lab.gateway.namespace, lab.gateway.process, f"wl-{tenant}", f"wlx-{tenant}"
    assert process is not None
    program = objects.load(access_node.PROGRAM)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        space.ip(f"link del {kernel}", f"link add {kernel} type veth peer name {ours}")
        index = space.ifindex(ours)
        link = space.call(lambda: objects.attach(program.programs["pass"], index, syscall.XDP_NATIVE))
    finally:
        os.kill(process.pid, signal.SIGCONT)
    try:
        yield
    finally:
        os.close(link.fd)
        program.close()
    wait_until(lambda: lab.gateway.request("GET", "/readyz")[0] == 200, "a gateway that is ready", LOOK_EVERY_S + 5)
