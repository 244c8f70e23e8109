"""The files of the certificate, its key, and the authorities of the clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runstream_service.errors.startup import StartupError

CERTIFICATE, KEY, CLIENT_CA = "--server-certificate", "--server-key", "--server-client-ca"

# Bundles of all authorities that browsers trust have some 250 KB.
MAX_FILE_BYTES = 4 << 20


class UnusableFiles(StartupError):
    """A file of TLS cannot be used. At the start the service does not start; later it keeps what it had loaded."""


@dataclass(frozen=True, slots=True)
class TlsContents:
    """The contents of the files of TLS, as PEM. `client_ca` is None without mutual TLS."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None

    def __repr__(self) -> str:
        return "TlsContents(...)"  # without the private key


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The paths of the files of TLS. With `client_ca`, clients need a certificate of one of the authorities in it."""

    certificate: Path
    key: Path
    client_ca: Path | None

    def read(self) -> TlsContents:
        """Reads all files. Raises UnusableFiles if one cannot be read, or is too large."""
        client_ca = None if self.client_ca is None else _read(CLIENT_CA, self.client_ca)
        return TlsContents(_read(CERTIFICATE, self.certificate), _read(KEY, self.key), client_ca)


def _read(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnusableFiles(f"cannot read {path}: {error.strerror or error}", setting=setting) from error
    if len(content) > MAX_FILE_BYTES:
        raise UnusableFiles(
            f"{path} has more than {MAX_FILE_BYTES >> 20} MiB; is it a file in PEM form?", setting=setting
        )
    return content
