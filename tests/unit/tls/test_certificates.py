"""Errors in TLS files name the setting, the file and the cause."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from runstream_service.tls.files import TlsFiles, UnusableFiles
from runstream_service.tls.server_tls import load
from tests.support.authorities import DAY, Authority, Issued, now


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "clients.crt")


def write(files: TlsFiles, issued: Issued, client_ca: bytes) -> None:
    files.certificate.write_bytes(issued.chain)
    files.key.write_bytes(issued.key)
    assert files.client_ca is not None
    files.client_ca.write_bytes(client_ca)


def refusal(files: TlsFiles) -> str:
    with pytest.raises(UnusableFiles) as caught:
        load(files)
    return str(caught.value)


def test_names_and_the_earliest_expiry_of_a_file_are_known(files: TlsFiles, authority: Authority) -> None:
    write(files, authority.issue("tracker.example.org", "10.0.0.7", days=20), authority.pem)
    certificates = load(files).certificates
    assert certificates.names == ("tracker.example.org", "10.0.0.7")
    assert abs(certificates.expires - now() - 20 * DAY) < DAY
    assert certificates.client_ca_expires is not None


def test_a_chain_and_certificate_and_key_in_one_file_are_accepted(files: TlsFiles, authority: Authority) -> None:
    issued = authority.issue_by_intermediate()
    write(files, Issued(issued.key + issued.chain, issued.key + issued.chain), authority.pem)
    assert load(files).certificates.names == ("localhost", "127.0.0.1")


@pytest.mark.parametrize("key_type", [trustme.KeyType.RSA, trustme.KeyType.ECDSA])
def test_keys_of_rsa_and_ecdsa_are_accepted(files: TlsFiles, key_type: trustme.KeyType) -> None:
    ca = trustme.CA(key_type=key_type)
    write(files, Issued.of(ca.issue_cert("localhost", key_type=key_type)), ca.cert_pem.bytes())
    load(files)


def test_a_file_that_is_missing_is_named(files: TlsFiles, authority: Authority) -> None:
    write(files, authority.issue(), authority.pem)
    files.key.unlink()
    said = refusal(files)
    assert said == f"--server-key (RUNSTREAM_SERVER_KEY): cannot read {files.key}: No such file or directory"


def test_an_expired_certificate_is_refused(files: TlsFiles, authority: Authority) -> None:
    write(files, authority.issue(days=-1), authority.pem)
    said = refusal(files)
    assert said.startswith(f"--server-certificate (RUNSTREAM_SERVER_CERTIFICATE): {files.certificate}: certificate ")
    assert "expired at " in said


def test_a_certificate_of_the_future_is_refused_with_the_time_of_this_machine(
    files: TlsFiles, authority: Authority
) -> None:
    write(files, authority.issue(days=370), authority.pem)
    assert "is valid only from" in refusal(files)
    assert f"the clock of this machine says {now():%Y-%m-%d}" in refusal(files)


def test_a_chain_in_the_wrong_order_is_refused(files: TlsFiles, authority: Authority) -> None:
    issued = authority.issue_by_intermediate()
    leaf, separator, rest = issued.chain.partition(b"-----END CERTIFICATE-----\n")
    write(files, Issued(rest + leaf + separator, issued.key), authority.pem)
    assert "in the wrong order" in refusal(files)
    assert "number 2" in refusal(files)


def test_a_certificate_of_somebody_else_in_the_chain_is_refused(files: TlsFiles, authority: Authority) -> None:
    issued = authority.issue()
    write(files, Issued(issued.chain + Authority().pem, issued.key), authority.pem)
    assert "do not belong together" in refusal(files)


def test_a_key_that_does_not_fit_is_refused(files: TlsFiles, authority: Authority) -> None:
    write(files, Issued(authority.issue().chain, authority.issue().key), authority.pem)
    assert refusal(files).startswith(f"--server-key (RUNSTREAM_SERVER_KEY): {files.key}: it is not the key of ")


def test_an_encrypted_key_is_refused_instead_of_asking_on_the_terminal(files: TlsFiles, authority: Authority) -> None:
    issued = authority.issue()
    key = serialization.load_pem_private_key(issued.key, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    write(files, Issued(issued.chain, encrypted), authority.pem)
    assert "the key is encrypted" in refusal(files)


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "said"),
    [
        (b"", None, None, "--server-certificate (RUNSTREAM_SERVER_CERTIFICATE): "),
        (b"\x30\x82\x01", None, None, "holds no certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", None, None, "damaged, or was cut off"),
        (None, b"nothing", None, "holds no private key in PEM form"),
        (None, None, b"", "--server-client-ca (RUNSTREAM_SERVER_CLIENT_CA): "),
        (None, None, b"nothing", "holds no certificate in PEM form"),
    ],
)
def test_content_that_is_no_pem_is_refused(
    files: TlsFiles,
    authority: Authority,
    certificate: bytes | None,
    key: bytes | None,
    client_ca: bytes | None,
    said: str,
) -> None:
    issued = authority.issue()
    chain = issued.chain if certificate is None else certificate
    write(files, Issued(chain, issued.key if key is None else key), authority.pem if client_ca is None else client_ca)
    assert said in refusal(files)


def test_a_file_that_cannot_be_of_this_kind_is_not_read_whole(files: TlsFiles, authority: Authority) -> None:
    write(files, authority.issue(), authority.pem)
    with files.certificate.open("wb") as file:
        file.truncate(1 << 40)
    assert "has more than 4 MiB" in refusal(files)


def test_authorities_of_clients_may_have_expired_but_not_all_of_them(files: TlsFiles, authority: Authority) -> None:
    expired = authority.issue(days=-1).chain
    write(files, authority.issue(), expired + authority.pem)
    load(files)
    write(files, authority.issue(), expired)
    assert "all of its certificates have expired" in refusal(files)


@pytest.mark.parametrize("kind", ["small", "curve"])
def test_a_key_that_one_of_the_two_servers_could_not_use_is_refused(files: TlsFiles, kind: str) -> None:
    key = rsa.generate_private_key(65_537, 1_024) if kind == "small" else ec.generate_private_key(ec.SECP256K1())
    write(files, _self_signed(key), Authority().pem)
    assert "cannot be used over both gRPC and HTTP" in refusal(files)


def _self_signed(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Issued:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now() - DAY, now() + DAY)
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Issued(certificate.public_bytes(pem), private)


def test_no_key_is_in_the_repr_of_what_was_read(files: TlsFiles, authority: Authority) -> None:
    write(files, authority.issue(), authority.pem)
    assert "PRIVATE" not in repr(load(files))
