"""Talk to a running gateway over its local socket."""

from __future__ import annotations

import grp
import http.client
import json
import pwd
import socket
import stat
import struct
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

DEFAULT_CONFIG = Path("/etc/wayleave/bng.toml")


TIMEOUT_S = 10.0
"""How long an answer may take; what looks at every session is given longer."""


class ApiError(Exception):
    """The answer is no; the text says why. `status` is the command's exit status."""

    status = 1


class Misused(ApiError):
    """What was asked, or with which file, makes no sense."""

    status = 2


class Unreachable(ApiError):
    """No gateway answers, or not to this user."""

    status = 2


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def socket_of(config: Path) -> str:
    """Return where the gateway of a configuration listens. Raises: Misused, Unreachable."""
    try:
        return str(tomllib.loads(config.read_text())["gateway"]["api"])
    except PermissionError as error:
        raise Unreachable(f"{config}: permission denied: run this as root (sudo)") from error
    except OSError as error:
        raise Misused(f"{config}: {error.strerror}: say --config FILE or --socket PATH") from error
    except UnicodeDecodeError as error:
        raise Misused(f"{config}: is not TOML: octet {error.start} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise Misused(f"{config}: is not TOML: {error}") from error
    except (KeyError, TypeError) as error:
        raise Misused(f"{config}: gateway.api is missing: `bng check {config}` says all that is wrong") from error


def call(
    path: str,
    method: str,
    target: str,
    body: object = None,
    refused: tuple[int, ...] = (),
    timeout_s: float = TIMEOUT_S,
    **query: object,
) -> Any:
    """Return the decoded answer; `body` is sent as JSON, which bytes already are.

    A status among `refused` is an answer as well.
    Raises: ApiError.
    """
    text = body if body is None or isinstance(body, bytes) else json.dumps(body)
    given = {key: value for key, value in query.items() if value is not None}
    connection = _Connection(path, timeout_s)
    try:
        headers = {"Content-Type": "application/json"} if text is not None else {}
        connection.request(method, target + (f"?{urlencode(given)}" if given else ""), text, headers)
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise _absent(path, error) from error
    finally:
        connection.close()
    if answer.status >= http.HTTPStatus.BAD_REQUEST and answer.status not in refused:
        raise _refusal(answer.status, said)
    return json.loads(said or b"null")


def _absent(path: str, error: Exception) -> Unreachable:
    match error:
        case PermissionError():
            return Unreachable(
                f"{path}: permission denied: only {_owner(path)} may talk to this gateway: run this with sudo"
            )
        case TimeoutError():
            return Unreachable(f"the gateway at {path} does not answer: its log may say why")
        case OSError(strerror=str(why)):
            return Unreachable(f"no gateway answers at {path}: {why}: is `bng run` running?")
        case _:
            return Unreachable(f"no gateway answers at {path}: {error}: is `bng run` running?")


def _owner(path: str) -> str:
    """Who may open the socket, as far as this user can see: its owner, and its group if that may write."""
    try:
        found = Path(path).stat()
    except OSError:
        return "root"
    user = f"user {_named(pwd.getpwuid, found.st_uid)}"
    return user if not found.st_mode & stat.S_IWGRP else f"{user} and group {_named(grp.getgrgid, found.st_gid)}"


def _named(find: Callable[[int], Any], number: int) -> str:
    """The name of a user or group; its number if it has none."""
    try:
        return str(find(number)[0])
    except KeyError:
        return str(number)


@contextmanager
def stream(path: str, method: str, target: str, **query: object) -> Iterator[Iterator[bytes]]:
    """Yield the pieces of an answer as they come, however long it takes; leaving ends it. Raises: ApiError."""
    given = {key: value for key, value in query.items() if value is not None}
    connection = _Connection(path, TIMEOUT_S)
    try:
        try:
            connection.request(method, target + (f"?{urlencode(given)}" if given else ""))
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise _absent(path, error) from error
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise _refusal(answer.status, answer.read())
        connection.sock.settimeout(None)
        yield _pieces(answer)
    finally:
        connection.close()


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        yield from iter(lambda: answer.read1(1 << 16), b"")
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable("the gateway has gone: its log says why") from error


def process_of(path: str) -> int:
    """Return the id of the process that listens at `path`, in this process's own numbers. Raises: ApiError.

    Source: unix(7), SO_PEERCRED: of a stream socket's listener, as it was when it began to listen.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        try:
            channel.connect(path)
        except OSError as error:
            raise _absent(path, error) from error
        pid, _, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if not pid:
        raise ApiError(f"the gateway at {path} runs in another pid namespace: stop it from there")
    return int(pid)


def _refusal(status: int, said: bytes) -> ApiError:
    """What the gateway says of a request that it does not take, in a sentence."""
    try:
        words = json.loads(said)["detail"]
    except (ValueError, KeyError, TypeError):
        return ApiError(f"the gateway could not answer (HTTP {status}): its log says why")
    return Misused(words) if status in _SENSELESS else ApiError(words)


_SENSELESS = (http.HTTPStatus.UNPROCESSABLE_ENTITY, http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
