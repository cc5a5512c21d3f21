"""The operator's certificate authority: one CA, whose certificates say who their holder is (`access`).

Keys are EC P-256, in PEM (PKCS 8) and unlocked, in files of mode 600. A certificate is of a server or of a client, so
what a gateway has cannot pose as Nexus. Dates begin an hour early, as clocks at the edge differ.

Source: RFC 5280 4.2.1 for the extensions.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wayleave.io.secrets import SecretError, read_private

SERVER = "server"
"""What `issue` takes for a role besides those of `access.Role`."""
CA = "ca"
_EARLY = timedelta(hours=1)
_KEY_MOST = 1 << 16


class CertificateError(Exception):
    """A certificate cannot be made; the text says why, and what to do."""


def init(folder: Path, name: str, days: int) -> Path:
    """Make a CA in a folder, `ca.pem` and `ca.key`; returns its certificate's path. Raises: CertificateError."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        _begun(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _written(folder, CA, key, made, again=False)


def issue(folder: Path, role: str, name: str, addresses: tuple[str, ...], days: int, again: bool = False) -> Path:
    """Make a certificate of the folder's CA, `NAME.pem` and `NAME.key`; returns its path.

    `addresses`: names and addresses that clients call a server by. With `days=-1` it has expired. `again`: another one
    stands there, and is replaced.

    Raises: CertificateError.
    """
    if (role == SERVER) != bool(addresses):
        raise CertificateError("a server's certificate has the names and addresses that it is called by, no other has")
    if name == CA:
        raise CertificateError(f"{CA} is what the authority's own files are called: say another name")
    authority, signer = _authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if role == SERVER else ExtendedKeyUsageOID.CLIENT_AUTH
    own, of_ca = x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier
    made = (
        _begun(subject, authority.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(own.from_public_key(key.public_key()), critical=False)
        .add_extension(of_ca.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if addresses:
        made = made.add_extension(x509.SubjectAlternativeName([_name(text) for text in addresses]), critical=False)
    return _written(folder, name, key, made.sign(signer, hashes.SHA256()), again)


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - _EARLY)
        .not_valid_after(end)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        private = read_private(folder / f"{CA}.key", "the CA", "its private key, PEM,", _KEY_MOST)
        certificate = x509.load_pem_x509_certificate((folder / f"{CA}.pem").read_bytes())
        key = serialization.load_pem_private_key(private, None)
    except SecretError as error:
        raise CertificateError(f"{error}, or make a CA there: nexus certs init {folder}") from None
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"{folder}: there is no CA that can be used in it: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{folder}: the CA's key is of another kind than `nexus certs init` makes")
    return certificate, key


def _written(
    folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, again: bool
) -> Path:
    """Write both files, the key first: nobody else can read it at any time."""
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}.pem"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / f"{name}.key", private, 0o600, again)
        _write(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644, again)
    except FileExistsError as error:
        raise CertificateError(f"{error.filename}: is there already, and is not written over") from None
    except OSError as error:
        raise CertificateError(f"{error.filename}: {error.strerror}") from None
    return path


def _write(path: Path, content: bytes, mode: int, again: bool) -> None:
    if again:
        path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
