"""TLS between two that both show a certificate, and what it says when it goes wrong, in words that say what to do."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct

from wayleave.io.secrets import SecretError, read_private
from wayleave.net.units import SECOND, UtcNs

KEY_MOST = 1 << 16
"""Octets of a file with a key, at most."""


PEM = "write it there, as PEM"


def client_context(certificate: Path, key: Path, ca: Path, setting: str) -> ssl.SSLContext:
    """Return what verifies a server's chain and name, and shows it our certificate; TLS 1.2 at least.

    Files are read now and not again. `setting`: of whom they are. Raises: SecretError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, certificate, key, ca, setting)
    return context


def server_context(certificate: Path, key: Path, ca: Path, setting: str) -> ssl.SSLContext:
    """Return what lets on clients alone that show a certificate of `ca`, and shows them ours; TLS 1.2 at least.

    No session is resumed: each connection's certificate is looked at anew. As `client_context` otherwise.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    _load(context, certificate, key, ca, setting)
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path, ca: Path, setting: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    read_private(key, f"{setting}.key", "the private key, PEM,", KEY_MOST)
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise SecretError(f"{setting}.ca", f"{ca}: {_of_file(error)}", PEM) from None
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _LockedError:
        raise SecretError(f"{setting}.key", f"{key} is locked with a password", "write it without one") from None
    except OSError as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise SecretError(
                f"{setting}.key", f"{key} is not the key of {certificate}", "give the two that belong together"
            ) from None
        raise SecretError(f"{setting}.certificate, key", f"{certificate}, {key}: {_of_file(error)}", PEM) from None


class _LockedError(Exception):
    pass


def _no_password() -> str:
    raise _LockedError


def _of_file(error: OSError) -> str:
    return "there is nothing of the kind in it" if isinstance(error, ssl.SSLError) else _plain(error)


class Peer(Struct, frozen=True):
    """What is on the other side: what it speaks, and what to do if its certificate is of another name."""

    speaks: str
    rename: str


RADSEC = Peer("RadSec", "set server_name to a name or an address that it has")
NEXUS = Peer("HTTPS", "write a name or an address that it has into nexus.servers")


def in_words(error: BaseException | None, where: str, name: str, peer: Peer) -> str:
    """Say why there is no connection to `where`, or no more, and what to do. `name`: what the server's certificate
    has to be of. None: the other side has closed it.
    """
    match error:
        case None:
            return "the server closed the connection"
        case ssl.SSLCertVerificationError():
            return _UNVERIFIED.get(error.verify_code, f"its certificate: {error.verify_message}").format(
                name=name, peer=peer
            )
        case ssl.SSLError():
            return _REASONS.get(error.reason or "", f"TLS fails: {error.reason or error}").format(peer=peer)
        case ConnectionRefusedError():
            return f"nothing listens at {where}: is the server up, and does it speak {peer.speaks} there?"
        case TimeoutError():
            return f"no answer from {where}: is there a way to it, and does no firewall stop TCP?"
        case ConnectionError():
            return "the connection broke"
        case OSError():
            return _plain(error)
    return str(error)


def _plain(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error)
    return os.strerror(error.errno)


_UNKNOWN_CA = "its certificate is of a CA that is not in `ca`: put that CA's certificate there"
_ANOTHER_NAME = "its certificate is not of {name}: {peer.rename}"
_UNVERIFIED = {
    9: "its certificate is not valid yet: is this machine's clock right?",
    10: "its certificate has expired: it needs a new one (or is this machine's clock wrong?)",
    18: _UNKNOWN_CA,
    19: _UNKNOWN_CA,
    20: _UNKNOWN_CA,
    21: _UNKNOWN_CA,
    62: _ANOTHER_NAME,
    64: _ANOTHER_NAME,
}
"""By X509_V_ERR_*, of OpenSSL's x509_vfy.h."""

_OURS = "the server refuses this gateway's certificate: "
_REASONS = {
    "TLSV1_ALERT_UNKNOWN_CA": f"{_OURS}it does not know the CA that it is of",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_OURS}it has expired, get a new one",
    "SSLV3_ALERT_BAD_CERTIFICATE": f"{_OURS}the server's log says why",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"{_OURS}the server's log says why",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"{_OURS}it was revoked, get a new one",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refuses to speak TLS with this gateway: its log says why",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server speaks no TLS as new as 1.2",
    "UNSUPPORTED_PROTOCOL": "the server speaks no TLS as new as 1.2",
    "WRONG_VERSION_NUMBER": "what answers there does not speak TLS: is it the port of {peer.speaks}?",
}
"""By OpenSSL's reasons: alerts are what the other side says."""


def of_gateway(certificate: Path, name: str, setting: str, now: UtcNs | None) -> None:
    """See that a certificate is this gateway's (CN, OU `node`), and of these days; `now` None: nobody knows.

    Raises: SecretError: somebody else's would have two gateways live on one hold.
    """
    where = f"{setting}.certificate"
    try:
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        why = _plain(error) if isinstance(error, OSError) else "there is no certificate in it"
        raise SecretError(where, f"{certificate}: {why}", PEM) from None
    of, role = (
        next((str(item.value) for item in read.subject.get_attributes_for_oid(oid)), "")
        for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)
    )
    issue = f"`nexus certs issue DIR --role node --name {name}` makes one"
    if (of, role) != (name, "node"):
        raise SecretError(
            where, f"{certificate} is {role or 'nobody'} {of}'s, and this is node {name} (gateway.name)", issue
        )
    if now is not None and now // SECOND >= read.not_valid_after_utc.timestamp():
        raise SecretError(where, f"{certificate} ended at {read.not_valid_after_utc:%Y-%m-%d %H:%M} UTC", issue)
