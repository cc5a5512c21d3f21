"""The gateway of a lab: the product in a namespace of its own, started, asked, stopped and killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from pathlib import Path
from typing import Any

from wayleave.lab.host import Host
from wayleave.lab.namespace import Namespace
from wayleave.lab.process import Process
from wayleave.lab.waiting import wait_until


class GatewayFailed(Exception):
    """bng did not start, ended, or does not answer: nothing can be said about what it does with packets."""


class Gateway(Host):
    """The namespace the product runs in: `acc0` to the access node, `core0` to the router."""

    def __init__(self, namespace: Namespace, folder: Path, name: str) -> None:
        super().__init__(namespace, "core0", folder)
        self.name = name
        self.api = folder / "bng.sock"
        self.config_file = folder / "bng.toml"
        self.process: Process | None = None

    def start(self, config: str, ready: bool = True, timeout: float = 20.0) -> Process:
        """Write the configuration and run `bng run`; returns when it says that it is ready, unless told not to wait.

        Raises: GatewayFailed with the end of its log.
        """
        self.config_file.write_text(config)
        return self._run(ready, timeout)

    def restart(self, timeout: float = 20.0) -> Process:
        """Run it again with the same configuration, after `kill9` or `stop`."""
        return self._run(True, timeout)

    def _run(self, ready: bool, timeout: float) -> Process:
        assert self.process is None or not self.process.alive, "the gateway runs already"
        self.process = self.start_command("run", "--config", str(self.config_file))
        if ready:
            self.wait_ready(timeout)
        return self.process

    def start_command(self, *arguments: str) -> Process:
        """Start `bng` with other arguments, in the background."""
        return self.spawn(sys.executable, "-m", "wayleave.cli.bng", *arguments, log="bng")

    def bng(self, *arguments: str, check: bool = True, timeout: float = 30.0) -> str:
        """Run a `bng` command to its end; returns what it printed. Raises: CommandFailed."""
        return self.run(sys.executable, "-m", "wayleave.cli.bng", *arguments, check=check, timeout=timeout)

    def wait_ready(self, timeout: float = 20.0) -> None:
        """Wait until GET /healthz says 200. Raises: GatewayFailed if bng ended or never said so."""
        process = self.process
        assert process is not None

        def ready() -> bool:
            if not process.alive:
                raise GatewayFailed(f"bng ended with status {process.status}:\n{process.output()[-4000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.request("GET", "/healthz")[0] == http.HTTPStatus.OK
            return False

        try:
            wait_until(ready, "bng that is ready", timeout)
        except TimeoutError as error:
            raise GatewayFailed(f"{error}; its log ends:\n{process.output()[-4000:]}") from error

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask the API over its local socket; returns status and decoded answer. Raises: OSError, HTTPException."""
        connection = _LocalConnection(self.api)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if data[:1] in (b"{", b"[", b'"') else data.decode()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """GET from the API. Raises: GatewayFailed unless it answers 200."""
        status, answer = self.request("GET", path)
        if status != http.HTTPStatus.OK:
            raise GatewayFailed(f"GET {path}: {status} {answer}")
        return answer

    def blocks(self) -> set[IPv4Network]:
        """The networks that its blocks of shared pools are."""
        shares = self.get("/nexus")["shares"]
        ends = (
            (IPv4Address(block["first"]), IPv4Address(block["last"])) for item in shares for block in item["blocks"]
        )
        return {network for first, last in ends for network in summarize_address_range(first, last)}

    def kill9(self) -> None:
        """SIGKILL, as the out-of-memory killer does it."""
        assert self.process is not None
        self.process.kill()

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM and wait; returns the exit status."""
        assert self.process is not None
        return self.process.stop(timeout)

    def raised(self) -> str:
        """The first exception that any bng of this gateway caught in its loop, and went on; empty: none."""
        for process in self._processes:
            _, found, text = process.output().partition("Exception in callback")
            if found:
                return f"{found}{text[:2000]}"
        return ""

    @property
    def log(self) -> str:
        """What the present bng wrote."""
        return self.process.output() if self.process else ""


class _LocalConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
