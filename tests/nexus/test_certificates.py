"""The authority: what its certificates say, and what it does not write over."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wayleave.lab.namespace import run
from wayleave.nexus import certificates
from wayleave.nexus.certificates import SERVER, CertificateError, init, issue


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    folder = tmp_path / "ca"
    init(folder, "A CA", 10)
    return folder


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_keys_are_for_their_owner_alone(authority: Path) -> None:
    issue(authority, "node", "bng1", (), 1)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in authority.iterdir()}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "bng1.pem": 0o644, "bng1.key": 0o600}
    assert stat.S_IMODE(authority.stat().st_mode) == 0o700


def test_a_certificate_says_who_its_holder_is_and_what_it_is_for(authority: Path) -> None:
    node, server = (
        read(issue(authority, "node", "bng1", (), 3)),
        read(issue(authority, SERVER, "n1", ("::1", "n.x"), 3)),
    )
    said = {attribute.oid: attribute.value for attribute in node.subject}
    assert said == {NameOID.COMMON_NAME: "bng1", NameOID.ORGANIZATIONAL_UNIT_NAME: "node"}
    uses = [list(each.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) for each in (node, server)]
    assert uses == [[ExtendedKeyUsageOID.CLIENT_AUTH], [ExtendedKeyUsageOID.SERVER_AUTH]]
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["::1", "n.x"]
    lasts = node.not_valid_after_utc - node.not_valid_before_utc
    assert (lasts.days, lasts.seconds) == (3, 3600)


def test_openssl_believes_it_for_its_purpose_alone(authority: Path) -> None:
    node = issue(authority, "node", "bng1", (), 1)
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(authority / "ca.pem")]
    assert "OK" in run([*verify, "-purpose", "sslclient", str(node)])
    with pytest.raises(Exception, match="purpose"):
        run([*verify, "-purpose", "sslserver", str(node)])


def test_another_is_only_written_over_when_asked(authority: Path) -> None:
    first = read(issue(authority, "node", "bng1", (), 1))
    with pytest.raises(CertificateError, match="not written over"):
        issue(authority, "node", "bng1", (), 1)
    second = issue(authority, "node", "bng1", (), 1, again=True)
    assert read(second).serial_number != first.serial_number
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(second, authority / "bng1.key")
    with pytest.raises(CertificateError, match="not written over"):
        init(authority, "Another", 1)


def test_the_authority_is_not_written_over_by_one_of_its_names(authority: Path) -> None:
    with pytest.raises(CertificateError):
        issue(authority, "node", certificates.CA, (), 1, again=True)


def test_an_authority_that_others_can_read_is_not_used(authority: Path) -> None:
    (authority / "ca.key").chmod(0o640)
    with pytest.raises(CertificateError, match="chmod 600"):
        issue(authority, "node", "bng1", (), 1)


def test_without_an_authority_it_is_said_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="nexus certs init"):
        issue(tmp_path, "node", "bng1", (), 1)


@pytest.mark.parametrize(("role", "addresses"), [(SERVER, ()), ("node", ("192.0.2.1",))])
def test_a_server_has_addresses_and_nobody_else(authority: Path, role: str, addresses: tuple[str, ...]) -> None:
    with pytest.raises(CertificateError, match="names and addresses"):
        issue(authority, role, "x", addresses, 1)
