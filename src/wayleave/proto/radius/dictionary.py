"""The attributes that are known by name, and the files that say so, in the syntax that operators know.

    ATTRIBUTE  NAME  CODE  TYPE         VALUE  ATTRIBUTE  NAME  NUMBER
    VENDOR  NAME  PEN                   BEGIN-VENDOR NAME ... END-VENDOR NAME          # a comment

Ours (`dictionaries/`) holds what the gateway uses. An operator's own directory adds to it: a name or a number that is
there already is given another meaning nowhere. Vendors' attributes are types and lengths of one octet each, as
RFC 2865 5.26 recommends; what does not read so stays octets, under `Vendor-Specific`.

Not supported: other formats of vendors, tags, TLVs, encrypted attributes. A file that asks for one is refused in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

from msgspec import Struct

from wayleave.net.errors import Malformed
from wayleave.proto.radius.packet import LONGEST, VENDOR_SPECIFIC, Avp
from wayleave.proto.radius.types import TYPES, Type


class Attribute(Struct, frozen=True, eq=False):
    """One row of a dictionary. `vendor`: a private enterprise number; 0: of RADIUS itself. `values` by their names."""

    name: str
    vendor: int
    code: int
    type: Type
    values: dict[str, int]

    def encode(self, value: Any) -> Avp:
        """Return type and octets of the attribute with a value. Raises: ValueError if it does not fit."""
        octets = self.type.encode(value)
        if not self.vendor:
            return self.code, octets
        if len(octets) > LONGEST - 6:
            raise ValueError(f"{self.name} has {len(octets)} octets: {LONGEST - 6} fit")
        return VENDOR_SPECIFIC, self.vendor.to_bytes(4, "big") + bytes((self.code, len(octets) + 2)) + octets

    def decode(self, octets: bytes) -> Any:
        """Raises: Malformed."""
        return self.type.decode(octets)

    def read(self, text: str) -> Any:
        """Read a value as operators write it: the name of one, or itself. Raises: ValueError."""
        named = self.values.get(text)
        return self.type.read(text) if named is None else named

    def show(self, value: Any) -> str:
        named = next((name for name, number in self.values.items() if number == value), None)
        return self.type.show(value) if named is None else named


class Dictionary:
    """Attributes by name and by number."""

    def __init__(self) -> None:
        self.by_name: dict[str, Attribute] = {}
        self._by_number: dict[tuple[int, int], Attribute] = {}
        self._vendors: dict[str, int] = {}

    def __getitem__(self, name: str) -> Attribute:
        """Raises: KeyError."""
        return self.by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def known(self, vendor: int, code: int) -> Attribute:
        """Return an attribute by number; one that nobody named is octets, under a name that says where it stands."""
        found = self._by_number.get((vendor, code))
        if found is None:
            name = f"attribute {code} of vendor {vendor}" if vendor else f"attribute {code}"
            found = Attribute(name, vendor, code, TYPES["octets"], {})
        return found

    def explode(self, avps: Iterable[Avp]) -> Iterator[tuple[Attribute, bytes]]:
        """Yield the attributes of a packet, vendors' ones taken out of their envelopes, with their octets."""
        for code, octets in avps:
            inner = None if code != VENDOR_SPECIFIC else _inner(octets)
            if inner is None:
                yield self.known(0, code), octets
            else:
                vendor = int.from_bytes(octets[:4], "big")
                yield from ((self.known(vendor, kind), value) for kind, value in inner)

    # ---- files --------------------------------------------------------------------------

    def extend(self, text: str, source: str) -> None:
        """Add what a file says. Raises: ValueError with `source`, the line's number and what to do."""
        vendor = 0
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            try:
                vendor = self._line(vendor, words)
            except ValueError as error:
                raise ValueError(f"{source}, line {number}: {error}") from None

    def _line(self, vendor: int, words: list[str]) -> int:
        """Take one line; returns the vendor whose attributes the next one is about."""
        match words:
            case ["VENDOR", name, number]:
                self._add_vendor(name, _integer(number))
            case ["BEGIN-VENDOR", name]:
                return self._vendor(name)
            case ["END-VENDOR", name]:
                if self._vendor(name) != vendor:
                    raise ValueError(f"END-VENDOR {name} ends what did not begin")
                return 0
            case ["ATTRIBUTE", name, code, kind]:
                self._add(name, vendor, _integer(code), kind)
            case ["VALUE", name, value, number]:
                self._attribute(name).values[value] = _integer(number)
            case _:
                raise ValueError(
                    f"{' '.join(words)!r} is not understood: ATTRIBUTE NAME CODE TYPE, VALUE ATTRIBUTE NAME NUMBER,"
                    " VENDOR NAME NUMBER, BEGIN-VENDOR NAME and END-VENDOR NAME are, without flags"
                )
        return vendor

    def _add_vendor(self, name: str, number: int) -> None:
        if not 1 <= number < 1 << 32:
            raise ValueError(f"{number} is no private enterprise number")
        if self._vendors.setdefault(name, number) != number:
            raise ValueError(f"vendor {name} is {self._vendors[name]} already")

    def _vendor(self, name: str) -> int:
        if name not in self._vendors:
            raise ValueError(f"there is no vendor {name}: say VENDOR {name} NUMBER before")
        return self._vendors[name]

    def _add(self, name: str, vendor: int, code: int, kind: str) -> None:
        type_ = TYPES.get(kind)
        if type_ is None:
            raise ValueError(f"there is no type {kind}: there are {', '.join(TYPES)}")
        if not 1 <= code <= 255:
            raise ValueError(f"{code} is no attribute's number: they go from 1 to 255")
        added = Attribute(name, vendor, code, type_, {})
        same = self._by_number.get((vendor, code))
        if same is not None and (same.name, same.type) == (name, type_):
            return
        if same is not None:
            raise ValueError(f"attribute {code} is {same.name}, {same.type.name}, already")
        if name in self.by_name:
            raise ValueError(f"there is an attribute {name} already")
        self.by_name[name] = self._by_number[vendor, code] = added

    def _attribute(self, name: str) -> Attribute:
        if name not in self.by_name:
            raise ValueError(f"there is no attribute {name}: say ATTRIBUTE {name} CODE TYPE before")
        return self.by_name[name]


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _inner(octets: bytes) -> list[Avp] | None:
    """Take a Vendor-Specific's value apart; None: it is not written as RFC 2865 5.26 recommends."""
    at, found = 4, []
    while at < len(octets):
        size = octets[at + 1] if at + 1 < len(octets) else 0
        if size < 2 or at + size > len(octets):
            return None
        found.append((octets[at], octets[at + 2 : at + size]))
        at += size
    return found or None


def load(more: Mapping[str, str] | None = None) -> Dictionary:
    """Return the gateway's own dictionary, and what further files, by their names, add. Raises: ValueError."""
    dictionary = Dictionary()
    for file in sorted(resources.files(__package__).joinpath("dictionaries").iterdir(), key=lambda item: item.name):
        dictionary.extend(file.read_text(), file.name)
    for source, text in (more or {}).items():
        dictionary.extend(text, source)
    return dictionary


def decoded(exploded: Iterable[tuple[Attribute, bytes]]) -> list[tuple[Attribute, Any]]:
    """Decode values. Raises: Malformed that names the attribute whose value is wrong."""
    found = []
    for attribute, octets in exploded:
        try:
            found.append((attribute, attribute.decode(octets)))
        except Malformed as error:
            raise Malformed(error.offset, f"{attribute.name}: {error.why}", error.source) from None
    return found


STANDARD = load()
