"""The messages of etcd's gRPC API that the store speaks: a table, from which protobuf makes classes at import.

A message is its fields, each with its number and kind, as in etcd's `rpc.proto` and `kv.proto` (3.4 and later); fields
that the store neither sets nor reads are left out, as protobuf lets a peer do. Enumerations are their numbers. Every
field has presence, so that what is set to 0 is sent.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

MOD = 2
"""Compare.target: the revision at which a key was last written, 0 if it is not there. Compare.result is EQUAL: 0."""
DELETED = 1
"""Event.type of a key that was deleted."""
NO_WATCH = -1
"""WatchResponse.watch_id of what is about the whole stream."""

_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Header": {"revision": (3, "int64")},
    "KeyValue": {"key": (1, "bytes"), "mod_revision": (3, "int64"), "value": (5, "bytes")},
    "RangeRequest": {
        "key": (1, "bytes"),
        "range_end": (2, "bytes"),
        "limit": (3, "int64"),
        "revision": (4, "int64"),
        "keys_only": (8, "bool"),
    },
    "RangeResponse": {"header": (1, "Header"), "kvs": (2, "*KeyValue"), "more": (3, "bool")},
    "PutRequest": {"key": (1, "bytes"), "value": (2, "bytes")},
    "DeleteRangeRequest": {"key": (1, "bytes")},
    "RequestOp": {
        "request_range": (1, "RangeRequest"),
        "request_put": (2, "PutRequest"),
        "request_delete_range": (3, "DeleteRangeRequest"),
    },
    "ResponseOp": {"response_range": (1, "RangeResponse")},
    "Compare": {"target": (2, "int32"), "key": (3, "bytes"), "mod_revision": (6, "int64")},
    "TxnRequest": {"compare": (1, "*Compare"), "success": (2, "*RequestOp"), "failure": (3, "*RequestOp")},
    "TxnResponse": {"header": (1, "Header"), "succeeded": (2, "bool"), "responses": (3, "*ResponseOp")},
    "CompactionRequest": {"revision": (1, "int64")},
    "CompactionResponse": {"header": (1, "Header")},
    "WatchCreateRequest": {
        "key": (1, "bytes"),
        "range_end": (2, "bytes"),
        "start_revision": (3, "int64"),
        "progress_notify": (4, "bool"),
        "fragment": (8, "bool"),
    },
    "WatchProgressRequest": {},
    "WatchRequest": {"create_request": (1, "WatchCreateRequest"), "progress_request": (3, "WatchProgressRequest")},
    "Event": {"type": (1, "int32"), "kv": (2, "KeyValue")},
    "WatchResponse": {
        "header": (1, "Header"),
        "watch_id": (2, "int64"),
        "created": (3, "bool"),
        "canceled": (4, "bool"),
        "compact_revision": (5, "int64"),
        "cancel_reason": (6, "string"),
        "fragment": (7, "bool"),
        "events": (11, "*Event"),
    },
}
_KINDS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
}


def _field(name: str, number: int, kind: str) -> Any:
    label = FieldDescriptorProto.LABEL_REPEATED if kind.startswith("*") else FieldDescriptorProto.LABEL_OPTIONAL
    field = FieldDescriptorProto(name=name, number=number, label=label)
    scalar = _KINDS.get(kind)
    if scalar is None:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".etcd.{kind.lstrip('*')}"
    else:
        field.type = scalar
    return field


def _file() -> Any:
    file = FileDescriptorProto(name="etcd.proto", package="etcd", syntax="proto2")
    for name, fields in _MESSAGES.items():
        file.message_type.add(name=name, field=[_field(field, *how) for field, how in fields.items()])
    return file


_POOL = DescriptorPool()  # our own: whoever else speaks to etcd in this process has classes of the same names
_POOL.Add(_file())


def _message(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"etcd.{name}"))


RangeRequest, RangeResponse = _message("RangeRequest"), _message("RangeResponse")
TxnRequest, TxnResponse = _message("TxnRequest"), _message("TxnResponse")
CompactionRequest, CompactionResponse = _message("CompactionRequest"), _message("CompactionResponse")
WatchRequest, WatchResponse = _message("WatchRequest"), _message("WatchResponse")
