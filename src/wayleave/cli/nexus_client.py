"""Talk to Nexus as an operator: HTTPS, with the operator's certificate."""

from __future__ import annotations

import http.client
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

from cyclopts import Parameter

from wayleave.cli import terminal
from wayleave.cli.client import TIMEOUT_S, ApiError, Misused, Unreachable
from wayleave.io.secrets import SecretError
from wayleave.io.tls import Peer, client_context, in_words

DEFAULT_FILE = Path("/etc/wayleave/nexus-client.toml")
PAGE = 1000
PORT = 7443
_KEYS = ("server", "certificate", "key", "ca")
_PEER = Peer("HTTPS", "call it by a name or an address that it has")


class Missing(ApiError):
    """There is nothing of that name."""


@Parameter(name="*")
class Asked:
    """Which Nexus is asked, and as whom.

    Parameters
    ----------
    client
        A file that says the four others; /etc/wayleave/nexus-client.toml unless it is said. What it names is relative
        to it.
    server
        Where Nexus is, as in https://192.0.2.1:7443.
    certificate
        The certificate that it is shown, PEM.
    key
        The private key of that, PEM.
    ca
        The CA that Nexus's certificate is of, PEM.
    as_json
        Print JSON.
    """

    def __init__(
        self,
        client: Path | None = None,
        server: str | None = None,
        certificate: Annotated[Path | None, Parameter(name=["--certificate", "--cert"])] = None,
        key: Path | None = None,
        ca: Path | None = None,
        as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    ) -> None:
        self.file, self.as_json = client, as_json
        said = {"server": server, "certificate": certificate, "key": key, "ca": ca}
        self._said = {name: str(value) for name, value in said.items() if value is not None}

    def _settings(self) -> dict[str, str]:
        """Raises: Misused."""
        file = self.file or DEFAULT_FILE
        if self.file is None and (len(self._said) == len(_KEYS) or not file.exists()):
            written: dict[str, str] = {}
        else:
            written = _read(file)
        told = written | self._said
        if missing := [f"--{name}" for name in _KEYS if name not in told]:
            raise Misused(f"{', '.join(missing)}: not said, and there is none in {file}")
        return told

    def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, **query: object
    ) -> tuple[Any, str]:
        """Return what is answered, and its ETag; empty: it has none. Raises: ApiError."""
        told = self._settings()
        at = urlsplit(told["server"])
        if at.scheme != "https" or at.hostname is None:
            raise Misused(f"--server: {told['server']} is no server: write https://ADDRESS:{PORT}")
        try:
            context = client_context(Path(told["certificate"]), Path(told["key"]), Path(told["ca"]), "client")
        except SecretError as error:
            raise Misused(str(error)) from None
        given = {key: value for key, value in query.items() if value is not None}
        target = quote(path) + (f"?{urlencode(given)}" if given else "")
        text = None if body is None else json.dumps(body)
        kind = {} if text is None else {"Content-Type": "application/json"}
        connection = http.client.HTTPSConnection(at.hostname, at.port or PORT, timeout=TIMEOUT_S, context=context)
        try:
            connection.request(method, target, text, {**kind, **(headers or {})})
            answer = connection.getresponse()
            said = answer.read()
        except http.client.HTTPException as error:
            raise Unreachable(f"{told['server']}: is it Nexus, and has this certificate its trust? {error}") from None
        except OSError as error:
            where = f"{at.hostname}:{at.port or PORT}"
            raise Unreachable(f"{told['server']}: {in_words(error, where, at.hostname, _PEER)}") from None
        finally:
            connection.close()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise _refusal(answer.status, said)
        return json.loads(said or b"null"), answer.headers.get("ETag", "")

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list. Raises: ApiError."""
        after: object = None
        while True:
            page, _ = self.call("GET", path, None, None, limit=PAGE, after=after, **query)
            yield page
            after = page["after"]
            if after is None:
                return

    def print(
        self, value: Any, columns: Sequence[str], rows: Iterable[Sequence[object]], spare: Sequence[str] = ()
    ) -> None:
        """Print `value` as JSON if asked to, else a table."""
        if self.as_json:
            terminal.document(value, 2)
        else:
            terminal.table(columns, rows, spare)


def _read(file: Path) -> dict[str, str]:
    try:
        raw = tomllib.loads(file.read_text())
    except OSError as error:
        raise Misused(f"{file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misused(f"{file}: is not TOML: {error}") from None
    for name, value in raw.items():
        if name not in _KEYS or not isinstance(value, str):
            raise Misused(f"{file}: {name}: there is server, certificate, key and ca, each a text")
    return {name: value if name == "server" else str(file.parent / value) for name, value in raw.items()}


def _refusal(status: int, said: bytes) -> ApiError:
    """What Nexus says of a request that it does not take."""
    try:
        words = str(json.loads(said)["detail"])
    except (ValueError, KeyError, TypeError):
        return ApiError(f"Nexus could not answer (HTTP {status}): its log says why")
    if status == http.HTTPStatus.NOT_FOUND:
        return Missing(words)
    return Misused(words) if status in _SENSELESS else ApiError(words)


_SENSELESS = (http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.UNPROCESSABLE_ENTITY)
