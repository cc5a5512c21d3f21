"""Write src/wayleave/dataplane/abi.py from the BTF of bpf/abi.h.

    python tools/genabi.py            write the file
    python tools/genabi.py --check    exit 1 if the file is not what abi.h says

Every struct and enum that abi.h defines is compiled with `clang -g`, its `.BTF` section read, and turned
into slots dataclasses with `pack` and `unpack` and into IntEnums. Typedef names survive in BTF, so a be32
becomes an IPv4Address: byte order and clock are in the type. Source: Documentation/bpf/btf.rst, kernel 6.1.
"""

from __future__ import annotations

import hashlib
import keyword
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from build_bpf import ROOT, include_flags

HEADER = ROOT / "bpf" / "abi.h"
TARGET = ROOT / "src" / "wayleave" / "dataplane" / "abi.py"
INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VAR = 1, 2, 3, 4, 5, 6, 8, 14
MODIFIERS = {9, 10, 11, 18}  # volatile, const, restrict, type tag
PADDING = re.compile(r"^(pad|reserved)\d*$")


@dataclass(slots=True)
class Type:
    """One BTF type record; `members` are (name, type id, offset in bits) or (name, value)."""

    name: str
    kind: int
    size: int
    members: list[tuple[str, int, int]]


def parse_btf(data: bytes) -> list[Type]:
    """Return the types of a `.BTF` section, index = type id (0 is void)."""
    magic, _version, _flags, header = struct.unpack_from("<HBBI", data)
    if magic != 0xEB9F:
        raise ValueError("not a little-endian .BTF section")
    type_offset, type_length, string_offset, _ = struct.unpack_from("<IIII", data, 8)
    strings = data[header + string_offset :]

    def text(offset: int) -> str:
        return strings[offset : strings.index(b"\0", offset)].decode()

    types = [Type("void", 0, 0, [])]
    at, end = header + type_offset, header + type_offset + type_length
    while at < end:
        name, info, size = struct.unpack_from("<III", data, at)
        at += 12
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        members: list[tuple[str, int, int]] = []
        if kind in (STRUCT, UNION):
            for index in range(count):
                member, target, bits = struct.unpack_from("<III", data, at + 12 * index)
                members.append((text(member), target, bits))
            at += 12 * count
        elif kind == ENUM:
            for index in range(count):
                member, value = struct.unpack_from("<II" if not info >> 31 else "<Ii", data, at + 8 * index)
                members.append((text(member), value, 0))
            at += 8 * count
        elif kind == ARRAY:
            element, _index, length = struct.unpack_from("<III", data, at)
            members.append(("", element, length))
            at += 12
        else:
            at += {INT: 4, VAR: 4, 13: 8 * count, 15: 12 * count, 17: 4, 19: 12 * count}.get(kind, 0)
        types.append(Type(text(name), kind, size, members))
    return types


def compile_btf(names: list[tuple[str, str]]) -> list[Type]:
    """Compile a unit that uses each (struct|enum, name) of abi.h once and return its types."""
    uses = "\n".join(f"{kind} {name} use_{index};" for index, (kind, name) in enumerate(names))
    with tempfile.TemporaryDirectory() as folder:
        unit, object_, section = (Path(folder) / name for name in ("abi.c", "abi.o", "abi.btf"))
        unit.write_text(f'#include <linux/types.h>\n#include "abi.h"\n{uses}\n')
        compile_ = [
            "clang",
            "-target",
            "bpf",
            "-g",
            "-O2",
            *include_flags(),
            "-c",
            str(unit),
            "-o",
            str(object_),
        ]
        subprocess.run(compile_, check=True)
        copy = ["llvm-objcopy", "--dump-section", f".BTF={section}", str(object_), str(Path(folder) / "x.o")]
        subprocess.run(copy, check=True)
        return parse_btf(section.read_bytes())


@dataclass(slots=True)
class Field:
    """One member as Python sees it: its `struct` format, annotation, and how to convert each way."""

    name: str
    format: str
    annotation: str = ""
    pack: str = ""
    unpack: str = ""


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def python_name(name: str) -> str:
    """A C member may be called what Python keeps for itself: `class` becomes `class_`."""
    return f"{name}_" if keyword.iskeyword(name) else name


def field(types: list[Type], name: str, type_id: int) -> Field:
    """Turn one struct member into a Field."""
    target = types[type_id]
    if target.kind in MODIFIERS:
        return field(types, name, target.size)
    if target.kind == TYPEDEF:
        value = f"self.{name}"
        match target.name:
            case "be32":
                return Field(name, "4s", "IPv4Address", f"{value}.packed", "IPv4Address({})")
            case "boot_ns":
                return Field(name, "Q", "BootNs", value, "BootNs({})")
            case "mac_addr":
                return Field(name, "6s", "Mac", value, "Mac({})")
            case _:
                return field(types, name, target.size)
    if target.kind == INT:
        return Field(name, {1: "B", 2: "H", 4: "I", 8: "Q"}[target.size], "int", f"self.{name}", "{}")
    if target.kind == STRUCT:
        return Field(
            name,
            f"{target.size}s",
            camel(target.name),
            f"self.{name}.pack()",
            f"{camel(target.name)}.unpack({{}})",
        )
    if target.kind == ARRAY:
        _, element, length = target.members[0]
        inner = field(types, name, element)
        size = struct.calcsize("<" + inner.format) * length
        if inner.format != "B" and not PADDING.match(name):
            raise ValueError(f"{name}: arrays other than octets do not cross")
        return Field(name, f"{size}s", "bytes", f"self.{name}", "{}")
    raise ValueError(f"{name}: kind {target.kind} ({target.name}) does not cross the border")


def describe_struct(types: list[Type], record: Type) -> tuple[list[str], str]:
    """Return the lines of one dataclass, and its layout as a line for the hash.

    Raises: ValueError for padding that the compiler would insert unseen.
    """
    fields = [field(types, python_name(name), type_id) for name, type_id, _ in record.members]
    position = 0
    for (name, _, bits), item in zip(record.members, fields, strict=True):
        if bits != position * 8:
            raise ValueError(f"struct {record.name}: hole of {bits // 8 - position} octets before {name}; name it pad")
        position += struct.calcsize("<" + item.format)
    if position != record.size:
        raise ValueError(f"struct {record.name}: {record.size - position} octets of padding at the end; name them pad")
    for item in fields:
        if PADDING.match(item.name):
            item.format = f"{struct.calcsize('<' + item.format)}x"
            item.annotation = ""
    layout = "<" + "".join(item.format for item in fields)
    shown = [item for item in fields if item.annotation]
    starts = zip(fields, record.members, strict=True)
    offsets = {item.name: bits // 8 for item, (_, _, bits) in starts if item.annotation}
    arguments = ", ".join(item.pack for item in shown)
    names = ", ".join(item.name for item in shown) + ("," if len(shown) == 1 else "")
    lines = [
        "@dataclass(slots=True)",
        f"class {camel(record.name)}:",
        f'    """struct {record.name}: {record.size} octets."""',
        "",
        f"    FORMAT: ClassVar[Struct] = Struct({layout!r})".replace("'", '"'),
        f"    SIZE: ClassVar[int] = {record.size}",
        f"    OFFSET: ClassVar[dict[str, int]] = {offsets}".replace("'", '"'),
        *(f"    {item.name}: {item.annotation}" for item in shown),
        "",
        "    def pack(self) -> bytes:",
        f"        return self.FORMAT.pack({arguments})",
        "",
        "    @classmethod",
        f"    def unpack(cls, data: Buffer, offset: int = 0) -> {camel(record.name)}:",
        f"        {names} = cls.FORMAT.unpack_from(data, offset)",
        f"        return cls({', '.join(item.unpack.format(item.name) for item in shown)})",
        "",
        "",
    ]
    return lines, f"{record.name} {layout} {[item.name for item in shown]}"


def describe_enum(record: Type) -> tuple[list[str], str]:
    """Return the lines of one IntEnum (or of the constants), and its layout."""
    if record.name == "constant":
        lines = [f"{name} = {value:#x}" if value > 0xFFFF else f"{name} = {value}" for name, value, _ in record.members]
        return [*lines, "", ""], f"constants {record.members}"
    names = [name for name, _, _ in record.members if not name.endswith("_COUNT")]
    prefix = names[0].partition("_")[0] + "_"
    if not all(name.startswith(prefix) for name in names):
        raise ValueError(f"enum {record.name}: members do not all begin with {prefix}")
    base = "IntFlag" if record.name.endswith("_flag") else "IntEnum"
    members = [(name.removeprefix(prefix), value) for name, value, _ in record.members if name in names]
    lines = [
        f"class {camel(record.name)}({base}):",
        f'    """enum {record.name}."""',
        "",
        *(f"    {name} = {value}" for name, value in members),
        "",
        "",
    ]
    return lines, f"{record.name} {members}"


def generate() -> str:
    """Return the text of abi.py for the abi.h that stands in the tree."""
    names = re.findall(r"^(struct|enum) (\w+) \{", HEADER.read_text(), re.MULTILINE)
    types = compile_btf(names)
    by_name = {(item.kind, item.name): item for item in types if item.kind in (STRUCT, ENUM)}
    body: list[str] = []
    layouts: list[str] = []
    for kind, name in names:
        record = by_name[STRUCT if kind == "struct" else ENUM, name]
        lines, layout = describe_struct(types, record) if kind == "struct" else describe_enum(record)
        body += lines
        layouts.append(layout)
    digest = hashlib.sha256("\n".join(layouts).encode()).hexdigest()[:12]
    head = [
        '"""GENERATED from bpf/abi.h by tools/genabi.py. Do not edit: change abi.h and run `make abi`."""',
        "",
        "from __future__ import annotations",
        "",
        "from dataclasses import dataclass",
        "from enum import IntEnum, IntFlag",
        "from ipaddress import IPv4Address",
        "from struct import Struct",
        "from typing import TYPE_CHECKING, ClassVar",
        "",
        "from wayleave.net.mac import Mac",
        "from wayleave.net.units import BootNs",
        "",
        "if TYPE_CHECKING:",
        "    from typing_extensions import Buffer",
        "",
        f'LAYOUT = "{digest}"',
        '"""Changes whenever a struct, enum or constant of abi.h does."""',
        "",
    ]
    text = "\n".join(head + body)
    ruff = ["ruff", "format", "--stdin-filename", str(TARGET), "-"]
    text = subprocess.run([sys.executable, "-m", *ruff], input=text, check=True, capture_output=True, text=True).stdout
    fix = ["ruff", "check", "--fix", "--select", "I", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run([sys.executable, "-m", *fix], input=text, check=True, capture_output=True, text=True).stdout


def main() -> int:
    text = generate()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
        return 0
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    print("src/wayleave/dataplane/abi.py is not what bpf/abi.h says: run `make abi`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
