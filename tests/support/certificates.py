"""Certificates for tests, made while they run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import grpc
import trustme


class Certificates:
    """An authority, and what it vouches for, as PEM files in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self.ca = str(directory / "ca.pem")
        directory.mkdir(parents=True, exist_ok=True)
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, *names: str, not_after: datetime | None = None, file: str = "") -> tuple[str, str]:
        """The paths of a certificate and its key, for these names or addresses."""
        issued = self._authority.issue_cert(*names, not_after=not_after)
        stem = file or names[0].replace("*", "any")
        certificate, key = self._directory / f"{stem}.crt", self._directory / f"{stem}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return str(certificate), str(key)

    def of_server(self, *names: str, asks_client: bool = False, not_after: datetime | None = None):
        """What a gRPC server listens with."""
        certificate, key = self.issue(*names, not_after=not_after)
        pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
        authorities = Path(self.ca).read_bytes() if asks_client else None
        return grpc.ssl_server_credentials([pair], authorities, require_client_auth=asks_client)
