"""Real certificates: an authority, what it issues, and files that are replaced as Kubernetes replaces them."""

from __future__ import annotations

import ssl
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import trustme

DAY = timedelta(days=1)


def now() -> datetime:
    """The time now, with a time zone."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM."""

    chain: bytes
    key: bytes

    @classmethod
    def of(cls, leaf: trustme.LeafCert) -> Issued:
        """Converts a certificate of trustme."""
        return cls(b"".join(pem.bytes() for pem in leaf.cert_chain_pems), leaf.private_key_pem.bytes())


@dataclass
class Authority:
    """A certificate authority, and the certificates that it issues."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def pem(self) -> bytes:
        """The certificate of the authority as PEM, which clients trust."""
        return self.ca.cert_pem.bytes()

    def issue(self, *names: str, days: float = 90) -> Issued:
        """A certificate that is valid for so many days; with a negative number, it has expired. By default for this
        machine."""
        expires = now() + days * DAY
        return Issued.of(
            self.ca.issue_cert(
                *(names or ("localhost", "127.0.0.1")), not_before=expires - 365 * DAY, not_after=expires
            )
        )

    def issue_by_intermediate(self, *names: str) -> Issued:
        """A certificate with its chain: the leaf, then the intermediate authority."""
        return Issued.of(self.ca.create_child_ca().issue_cert(*(names or ("localhost", "127.0.0.1"))))


class CertificateFiles:
    """An authority, and the certificates that it issues, as PEM files in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = Authority()
        self.ca = str(directory / "ca.pem")
        directory.mkdir(parents=True, exist_ok=True)
        Path(self.ca).write_bytes(self._authority.pem)

    def issue(self, *names: str, days: float = 90, file: str = "") -> tuple[str, str]:
        """The paths of a certificate and its key, for these names or addresses."""
        issued = self._authority.issue(*names, days=days)
        stem = file or names[0]
        certificate, key = self._directory / f"{stem}.crt", self._directory / f"{stem}.key"
        certificate.write_bytes(issued.chain)
        key.write_bytes(issued.key)
        return str(certificate), str(key)

    def of_server(self, *names: str, asks_client: bool = False, days: float = 90) -> grpc.ServerCredentials:
        """The credentials of a gRPC server."""
        issued = self._authority.issue(*names, days=days)
        authorities = self._authority.pem if asks_client else None
        return grpc.ssl_server_credentials([(issued.key, issued.chain)], authorities, require_client_auth=asks_client)


class SecretMount:
    """Files in a directory that are replaced together, by one symlink, as the kubelet does with those of a Secret."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def put(self, issued: Issued, client_ca: bytes = b"") -> None:
        """Replace all of the files."""
        version = self.directory / f"..{uuid.uuid4().hex}"
        version.mkdir()
        for name, content in (("tls.crt", issued.chain), ("tls.key", issued.key), ("clients.crt", client_ca)):
            (version / name).write_bytes(content)
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(Path("..data") / name)
        (self.directory / "..new").symlink_to(version.name)
        (self.directory / "..new").rename(self.directory / "..data")

    def arguments(self, *, mutual: bool = False) -> list[str]:
        """The options of `runstream serve` for these files."""
        arguments = ["--server-certificate", str(self.directory / "tls.crt")]
        arguments += ["--server-key", str(self.directory / "tls.key")]
        return arguments + (["--server-client-ca", str(self.directory / "clients.crt")] if mutual else [])


def trusting(authority: Authority, own: Issued | None = None, *, directory: Path | None = None) -> ssl.SSLContext:
    """A client's context, with a certificate of its own if there is one, which needs a directory for its files."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if own is not None:
        assert directory is not None
        file = directory / f"{uuid.uuid4().hex}.pem"
        file.write_bytes(own.key + own.chain)
        context.load_cert_chain(file)
    return context


def channel_credentials(authority: Authority, own: Issued | None = None) -> grpc.ChannelCredentials:
    """The credentials of a gRPC client, with a certificate of its own if there is one."""
    if own is None:
        return grpc.ssl_channel_credentials(authority.pem)
    return grpc.ssl_channel_credentials(authority.pem, own.key, own.chain)
