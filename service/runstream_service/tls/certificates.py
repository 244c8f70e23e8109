"""Checks certificates and keys when they are loaded, so that the operator reads what is wrong with them before a client
fails to connect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from runstream_service.tls.files import CERTIFICATE, CLIENT_CA, KEY, TlsContents, TlsFiles, UnusableFiles

# Keys that both OpenSSL (for HTTP) and BoringSSL (for gRPC) accept.
_LEAST_RSA_BITS = 2_048
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the log and the metrics say about certificates that passed the checks. `names` are the host names and IP
    addresses of the server's certificate."""

    names: tuple[str, ...]
    expires: datetime  # the earliest in the chain
    client_ca_expires: datetime | None  # the earliest of those that are still valid; None without mutual TLS


def check(files: TlsFiles, contents: TlsContents) -> Certificates:
    """Checks the contents of the files of TLS: form, key, order of the chain, and time of validity.

    Raises:
        UnusableFiles: it names the setting, the file, and what is wrong.
    """
    now = datetime.now(UTC)
    try:
        chain = _parse(contents.certificate)
        _check_chain(chain, now)
    except ValueError as error:
        raise UnusableFiles(f"{files.certificate}: {error}", setting=CERTIFICATE) from error
    try:
        _check_key(contents.key, chain[0])
    except ValueError as error:
        raise UnusableFiles(f"{files.key}: {error}", setting=KEY) from error
    try:
        client_ca_expires = None if contents.client_ca is None else _earliest_valid(_parse(contents.client_ca), now)
    except ValueError as error:
        raise UnusableFiles(f"{files.client_ca}: {error}", setting=CLIENT_CA) from error
    return Certificates(_names(chain[0]), min(one.not_valid_after_utc for one in chain), client_ca_expires)


def _parse(pem: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ValueError("a certificate in it is damaged, or was cut off") from error


def _check_chain(chain: Sequence[x509.Certificate], now: datetime) -> None:
    for number, one in enumerate(chain, start=1):
        _check_time(one, number, now)
    for number, (one, issuer) in enumerate(pairwise(chain), start=1):
        if not _issued(one, issuer):
            raise ValueError(
                f"its certificates are in the wrong order, or do not belong together: number {number + 1}, "
                f"{_subject(issuer)}, did not issue number {number}, {_subject(one)}. The certificate of the server "
                "comes first, then the one that issued it, and so on"
            )
    key = chain[0].public_key()
    if isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise ValueError(
            f"the key of {_subject(chain[0])} is of a kind or size that cannot be used over both gRPC and HTTP; use "
            f"ECDSA with P-256 or P-384, or RSA with {_LEAST_RSA_BITS:,} bits or more"
        )


def _check_time(certificate: x509.Certificate, number: int, now: datetime) -> None:
    which = f"certificate number {number}, {_subject(certificate)},"
    if now > certificate.not_valid_after_utc:
        raise ValueError(f"{which} expired at {_time(certificate.not_valid_after_utc)}; get a new one")
    if now < certificate.not_valid_before_utc:
        raise ValueError(
            f"{which} is valid only from {_time(certificate.not_valid_before_utc)}, and the clock of this machine says "
            f"{_time(now)}"
        )


def _check_key(pem: bytes, certificate: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise ValueError(
            "the key is encrypted, and the service has no way to ask for its passphrase; store it decrypted (openssl "
            "pkey -in KEY -out NEW), readable by the service alone"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("it holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)") from error
    encoded = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*encoded) != certificate.public_key().public_bytes(*encoded):
        raise ValueError(
            f"it is not the key of the certificate {_subject(certificate)}; key and certificate have to be one pair, "
            "and the certificate of the server has to be the first in its file"
        )


def _earliest_valid(authorities: Sequence[x509.Certificate], now: datetime) -> datetime:
    """The time at which the first of the authorities that are still valid expires. While authorities are replaced, the
    file may also hold expired ones. Raises ValueError if all have expired."""
    valid = [one.not_valid_after_utc for one in authorities if now <= one.not_valid_after_utc]
    if not valid:
        raise ValueError(f"all of its certificates have expired, such as {_subject(authorities[0])}")
    return min(valid)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress))


def _subject(certificate: x509.Certificate) -> str:
    return (certificate.subject.rfc4514_string() or "without a name")[:200]


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
