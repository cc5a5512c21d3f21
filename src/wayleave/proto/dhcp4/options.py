"""The registry of DHCP options: one row is the whole option.

From a row follow encoding, decoding, the name in logs and the key in the configuration. A test walks the registry and
fails for a row that has no vector. Options that have no row still travel: `Message.options` is raw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct

from wayleave.proto.dhcp4.codecs import (
    ADDRESS,
    ADDRESSES,
    BYTES,
    CODES,
    DOMAINS,
    FLAG,
    I32,
    ROUTES,
    SIP,
    TEXT,
    U8,
    U16,
    U32,
    Codec,
)

T = TypeVar("T")


class Option(Struct, Generic[T], frozen=True):
    """A row. `name` is the log name and the configuration key, `source` the section that defines the option."""

    code: int
    name: str
    codec: Codec[T]
    source: str

    def encode(self, value: T) -> bytes:
        """Return the option's octets, without code and length. Raises: ValueError if the value does not fit."""
        return self.codec.encode(value)

    def decode(self, data: bytes) -> T:
        """Read the option's octets. Raises: Malformed."""
        return self.codec.decode(data)

    def configured(self, value: object) -> bytes:
        """Return the octets for what the configuration says. Raises: ValueError with what was expected."""
        return self.codec.encode(self.codec.read(value))


SUBNET_MASK = Option(1, "subnet-mask", ADDRESS, "RFC 2132 3.3")
TIME_OFFSET = Option(2, "time-offset", I32, "RFC 2132 3.4")
ROUTERS = Option(3, "routers", ADDRESSES, "RFC 2132 3.5")
TIME_SERVERS = Option(4, "time-servers", ADDRESSES, "RFC 2132 3.6")
DOMAIN_NAME_SERVERS = Option(6, "domain-name-servers", ADDRESSES, "RFC 2132 3.8")
LOG_SERVERS = Option(7, "log-servers", ADDRESSES, "RFC 2132 3.9")
HOST_NAME = Option(12, "host-name", TEXT, "RFC 2132 3.14")
DOMAIN_NAME = Option(15, "domain-name", TEXT, "RFC 2132 3.17")
INTERFACE_MTU = Option(26, "interface-mtu", U16, "RFC 2132 5.1")
BROADCAST_ADDRESS = Option(28, "broadcast-address", ADDRESS, "RFC 2132 5.3")
NTP_SERVERS = Option(42, "ntp-servers", ADDRESSES, "RFC 2132 8.3")
VENDOR_SPECIFIC = Option(43, "vendor-specific", BYTES, "RFC 2132 8.4")
NETBIOS_NAME_SERVERS = Option(44, "netbios-name-servers", ADDRESSES, "RFC 2132 8.5")
NETBIOS_NODE_TYPE = Option(46, "netbios-node-type", U8, "RFC 2132 8.7")
REQUESTED_ADDRESS = Option(50, "requested-address", ADDRESS, "RFC 2132 9.1")
LEASE_TIME = Option(51, "lease-time", U32, "RFC 2132 9.2")
MESSAGE_TYPE = Option(53, "message-type", U8, "RFC 2132 9.6")
SERVER_IDENTIFIER = Option(54, "server-identifier", ADDRESS, "RFC 2132 9.7")
PARAMETER_REQUEST_LIST = Option(55, "parameter-request-list", CODES, "RFC 2132 9.8")
MESSAGE = Option(56, "message", TEXT, "RFC 2132 9.9")
MAXIMUM_MESSAGE_SIZE = Option(57, "maximum-message-size", U16, "RFC 2132 9.10")
RENEWAL_TIME = Option(58, "renewal-time", U32, "RFC 2132 9.11")
REBINDING_TIME = Option(59, "rebinding-time", U32, "RFC 2132 9.12")
VENDOR_CLASS = Option(60, "vendor-class", TEXT, "RFC 2132 9.13")
CLIENT_IDENTIFIER = Option(61, "client-identifier", BYTES, "RFC 2132 9.14, RFC 4361 6.1")
TFTP_SERVER_NAME = Option(66, "tftp-server-name", TEXT, "RFC 2132 9.4")
BOOTFILE_NAME = Option(67, "bootfile-name", TEXT, "RFC 2132 9.5")
USER_CLASS = Option(77, "user-class", BYTES, "RFC 3004 4")
RAPID_COMMIT = Option(80, "rapid-commit", FLAG, "RFC 4039 4")
CLIENT_FQDN = Option(81, "client-fqdn", BYTES, "RFC 4702 2")
RELAY_AGENT = Option(82, "relay-agent", BYTES, "RFC 3046 2.0")
AUTHENTICATION = Option(90, "authentication", BYTES, "RFC 3118 2")
POSIX_TIMEZONE = Option(100, "posix-timezone", TEXT, "RFC 4833 2")
TZDB_TIMEZONE = Option(101, "tzdb-timezone", TEXT, "RFC 4833 2")
V6ONLY_WAIT = Option(108, "ipv6-only-preferred", U32, "RFC 8925 3.1")
CAPTIVE_PORTAL = Option(114, "captive-portal", TEXT, "RFC 8910 2.1")
AUTO_CONFIGURE = Option(116, "auto-configure", U8, "RFC 2563 2")
DOMAIN_SEARCH = Option(119, "domain-search", DOMAINS, "RFC 3397 2")
SIP_SERVERS = Option(120, "sip-servers", SIP, "RFC 3361 3")
CLASSLESS_ROUTES = Option(121, "classless-routes", ROUTES, "RFC 3442")
VENDOR_CLASSES = Option(124, "vendor-identifying-class", BYTES, "RFC 3925 3")
VENDOR_OPTIONS = Option(125, "vendor-identifying-specific", BYTES, "RFC 3925 4")
CAPWAP_CONTROLLERS = Option(138, "capwap-controllers", ADDRESSES, "RFC 5417 2")
TFTP_SERVERS = Option(150, "tftp-servers", ADDRESSES, "RFC 5859 3")
MS_CLASSLESS_ROUTES = Option(249, "ms-classless-routes", ROUTES, "MS-DHCPE 2.2.8")
PROXY_AUTODISCOVERY = Option(252, "proxy-autodiscovery", TEXT, "draft-ietf-wrec-wpad-01 4.4.1")


_ROWS: list[Option[Any]] = [value for value in globals().values() if isinstance(value, Option)]
BY_CODE = {option.code: option for option in _ROWS}
BY_NAME = {option.name: option for option in _ROWS}


def by_code(configured: Mapping[str, object]) -> dict[int, bytes]:
    """Encode options as a configuration names them. Raises: KeyError, ValueError for what `bng check` would refuse."""
    return {BY_NAME[name].code: BY_NAME[name].configured(value) for name, value in configured.items()}
