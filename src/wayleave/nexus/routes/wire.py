"""What routes share: records as bodies, pages of them, and what a change expects to find.

    asked: Annotated[Claim, Wire, Body()]       a body that is a record: JSON in, a msgspec Struct out
    -> Annotated[Claimed, Wire]                 an answer that is one

So the records that rooms keep and gateways read are what the OpenAPI document describes, without a second model.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, get_origin

import msgspec
from fastapi import Depends, Header, Path, Query, Response
from pydantic_core import core_schema

from wayleave.nexus.records import NAME
from wayleave.nexus.refusal import Invalid, Refused

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

MOST_A_PAGE = 1000


class Wire:
    """Marks a msgspec Struct for pydantic: how it is read, written and described."""

    @classmethod
    def __get_pydantic_core_schema__(cls, kind: Any, _: GetCoreSchemaHandler) -> CoreSchema:
        struct = get_origin(kind) or kind

        def read(value: object) -> object:
            try:
                if isinstance(value, struct):
                    return value
                _known(value, struct)
                return msgspec.json.decode(msgspec.json.encode(value), type=kind)  # what it refuses nobody can keep
            except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
                raise ValueError(str(error)) from None

        def described(_: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
            (schema,), parts = msgspec.json.schema_components([kind])
            return dict(_resolved(schema, parts))

        return core_schema.no_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
            ref=f"{_name(kind)}:{id(kind)}",
            metadata={"pydantic_js_functions": [described]},
        )


def _known(value: object, struct: Any) -> None:
    """Refuse what a record does not have: a word that is misspelt would count as not said. Raises: ValueError."""
    known = {field.encode_name for field in msgspec.structs.fields(struct)}
    for key in value if isinstance(value, dict) else ():
        if key not in known:
            perhaps = get_close_matches(str(key), known, 1)
            meant = f": is {perhaps[0]} meant?" if perhaps else f"; there is {', '.join(sorted(known))}"
            raise ValueError(f"there is no {key!r}{meant}")


def _name(kind: Any) -> str:
    """What a record is called in the OpenAPI document: `Listed[Pool]` is `ListedPool`."""
    return "".join(part.__name__ for part in (get_origin(kind) or kind, *getattr(kind, "__args__", ())))


def _resolved(schema: Any, parts: dict[str, Any]) -> Any:
    """Return a schema with what it refers to written into it: no record contains itself."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _resolved(parts[schema["$ref"].rpartition("/")[2]], parts)
        return {key: _resolved(value, parts) for key, value in schema.items()}
    return [_resolved(item, parts) for item in schema] if isinstance(schema, list) else schema


Name = Annotated[str, Path(pattern=f"^{NAME}$", description="what it is called")]
OfPool = Annotated[str, Query(pattern=f"^{NAME}$", description="the pool that they are of")]
After = Annotated[str, Query(max_length=128, description="the name that the last page ended with")]
Limit = Annotated[int, Query(ge=1, le=MOST_A_PAGE)]


def tag(said: Response, revision: int) -> None:
    """Have an answer say at which revision its record was last written: what a change of it expects."""
    said.headers["ETag"] = f'"{revision}"'


async def _expected(
    if_match: Annotated[str | None, Header()] = None, if_none_match: Annotated[str | None, Header()] = None
) -> int:
    if (if_match is None) == (if_none_match is None):
        raise Refused("say `If-None-Match: *` to create, or `If-Match:` with the ETag of what is changed")
    if if_none_match is not None:
        if if_none_match != "*":
            raise Refused("If-None-Match: only * makes sense here")
        return 0
    return _revision(if_match or "")


async def _matched(if_match: Annotated[str | None, Header()] = None) -> int | None:
    return None if if_match is None else _revision(if_match)


def _revision(tag: str) -> int:
    revision = tag.strip('"')
    if not revision.isascii() or not revision.isdecimal() or not 0 < int(revision) < 1 << 63:
        raise Refused("If-Match: write the ETag of what is changed, as it was told")
    return int(revision)


def same(name: str, record: str) -> None:
    """Refuse a body that is called otherwise than its path. Raises: Invalid."""
    if name != record:
        raise Invalid(f"name: is {record}, and the path says {name}; a record keeps its name")


Expected = Annotated[int, Depends(_expected)]
"""The revision that a changed record is expected at; 0: there is none. Raises: Refused."""
Matched = Annotated[int | None, Depends(_matched)]
"""The revision that a deleted record is expected at; None: whatever it is."""
