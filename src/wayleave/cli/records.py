"""`nexus show`, `put`, `delete`, `allocate`, `release`, and the audit: what Nexus keeps, for operators."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from wayleave.cli.client import ApiError, Misused
from wayleave.cli.nexus_client import Asked, Missing
from wayleave.cli.terminal import document, say
from wayleave.cli.words import several

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "pools": ("name", "kind", "space", "block", "unit", "tenant", "closed"),
    "providers": ("name", "tenant", "pool", "service", "realms"),
    "lines": ("name", "node", "port", "svid", "cvid", "circuit", "ont", "owner"),
    "subscribers": ("name", "provider", "line", "mac", "user", "service", "address", "blocked"),
    "nodes": ("name", "epoch", "holds", "sessions", "version", "heard"),
    "blocks": ("index", "first", "last", "node", "epoch", "fence"),
    "allocations": ("id", "unit", "holder", "mode", "ttl"),
    "audit": ("number", "at", "role", "name", "changes"),
}


def show(asked: Asked, kind: str, name: str | None, pool: str | None) -> int:
    """Print a list, or one record."""
    if (kind in ("blocks", "allocations") and name is None) != (pool is not None):
        raise Misused("--pool POOL says of which pool blocks and allocations are; others are of none")
    if name is not None:
        record, _ = asked.call("GET", f"/v1/{kind}/{name}")
        asked.print(record, ("", ""), _flat(record).items())
        return 0
    records = [_record(item) for page in asked.pages(f"/v1/{kind}", pool=pool) for item in page["items"]]
    columns = _COLUMNS[kind]
    rows = [[_cell(_flat(record).get(column)) for column in columns] for record in records]
    asked.print(records, columns, rows, columns[:0:-1])
    return 0


def put(asked: Asked, kind: str, name: str, values: Sequence[str]) -> int:
    """Make a record, or change what is said of one."""
    path = f"/v1/{kind}s/{name}"
    given = dict(map(_value, values))
    try:
        known, tag = asked.call("GET", path)
    except Missing:
        known, tag = {"name": name}, ""
    record = {key: value for key, value in (known | given).items() if value is not None}
    asked.call("PUT", path, record, {"If-Match": tag} if tag else {"If-None-Match": "*"})
    say(f"{'changed' if tag else 'made'} {kind} {name}")
    return 0


def delete(asked: Asked, kind: str, name: str) -> int:
    """Delete a record as it is now."""
    path = f"/v1/{kind}s/{name}"
    _, tag = asked.call("GET", path)
    asked.call("DELETE", path, None, {"If-Match": tag})
    say(f"deleted {kind} {name}")
    return 0


def allocate(asked: Asked, pool: str, holder: str, mode: str, unit: str, ttl: int) -> int:
    """Have Nexus give somebody a unit, and print it."""
    question = {"pool": pool, "holder": holder, "mode": mode, "unit": unit, "ttl": ttl}
    given, _ = asked.call("POST", "/v1/allocations", question, {"Idempotency-Key": uuid4().hex})
    asked.print(given, ("", ""), given.items())
    return 0


def release(asked: Asked, identity: str) -> int:
    """Have Nexus take a unit back."""
    asked.call("DELETE", f"/v1/allocations/{identity}")
    say(f"released {identity}")
    return 0


def verify(asked: Asked, known: str | None) -> int:
    """Walk the audit's chain. Raises: ApiError where it is broken."""
    import msgspec

    from wayleave.nexus.audit import Broken, Head, Record, Verifier

    number, _, digest = (known or "0:").partition(":")
    if not number.isdecimal() or (known and not digest):
        raise Misused("--known: write NUMBER:HASH")
    verifier, head = Verifier(), Head(0, "")
    try:
        for page in asked.pages("/v1/audit"):
            for item in page["items"]:
                verifier.take(msgspec.convert(item, Record))
                if verifier.number == int(number) and verifier.hash != digest:
                    raise Broken(f"record {number} is not the one that was known: its hash is {verifier.hash}")
            head = msgspec.convert(page["head"], Head)
        verifier.end(head)
        if verifier.number < int(number):
            raise Broken(f"records {verifier.number + 1} to {number} are missing")
    except Broken as error:
        raise ApiError(f"the audit is not whole: {error}") from None
    except msgspec.ValidationError as error:
        raise ApiError(f"the audit is not whole: record {verifier.number + 1}: {error}") from None
    if asked.as_json:
        document({"records": verifier.number, "hash": verifier.hash}, 2)
    else:
        say(f"whole: {several(verifier.number, 'record')}; the last is {verifier.number}:{verifier.hash}")
    return 0


def _record(item: Any) -> Any:
    """What a page has of a record: by itself, or with its revision."""
    return item.get("record", item)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a gateway told of itself stands beside what Nexus knows of it."""
    flat = dict(record)
    flat |= flat.pop("state", None) or {} if isinstance(record.get("state"), dict | None) else {}
    return flat


def _cell(value: Any) -> Any:
    match value:
        case [{"key": _}, *_]:
            return ", ".join(f"{change['key']}{'' if change['value'] is not None else ' deleted'}" for change in value)
        case list():
            return ", ".join(map(str, value))
        case bool():
            return "yes" if value else "no"
        case "":
            return None
    return value


def _value(text: str) -> tuple[str, Any]:
    """Read `block=256`: a number, true, false, a list in brackets, or a text."""
    key, equals, value = text.partition("=")
    if not equals:
        raise Misused(f"{text}: write KEY=VALUE")
    if not value:
        return key, None
    if value in ("true", "false") or value[0] in '["{' or value.lstrip("-").isdecimal():
        try:
            return key, json.loads(value)
        except ValueError:
            raise Misused(f"{text}: is written as JSON, and is none") from None
    return key, value
