"""What loading and attaching say when the kernel refuses."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from wayleave.dataplane import objects, syscall

from .rig import Bench

REFUSED = """
#define SEC(name) __attribute__((section(name), used))
static long (*now)(void) = (void *)5;

SEC("xdp") int refused(void *context)
{
	volatile long sum = 0;
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < 1500; i++)
		sum += now();
	return *(volatile char *)sum;
}

char _license[] SEC("license") = "Dual BSD/GPL";
"""


def test_a_refusal_ends_with_the_verifier_s_reason_however_long_its_log(tmp_path: Path) -> None:
    """The log of this program passes 64 KiB by far; what matters stands in its last lines."""
    target = tmp_path / "refused.bpf.o"
    compiler = ["clang", "-target", "bpf", "-g", "-O2", "-Wno-everything", "-x", "c", "-", "-c", "-o", str(target)]
    subprocess.run(compiler, input=REFUSED, text=True, check=True)
    with pytest.raises(objects.LoadError, match="invalid mem access 'scalar'") as caught:
        objects.load(target)
    assert len(str(caught.value).splitlines()) <= 61


def test_a_driver_that_refuses_a_device_as_it_is_set_up_is_not_said_to_have_no_native_xdp(loaded: Bench) -> None:
    subprocess.run(["ip", "link", "add", "wide", "type", "veth", "peer", "name", "far", "mtu", "9000"], check=True)
    try:
        with pytest.raises(objects.LoadError, match="lower the MTU"):
            objects.attach(loaded.programs["bng_access"], socket.if_nametoindex("wide"), syscall.XDP_NATIVE)
    finally:
        subprocess.run(["ip", "link", "del", "wide"], check=True)
