"""The files for TLS of an endpoint."""

from __future__ import annotations

import os

from runstream._endpoint import TlsFiles

_MAX_BYTES = 4 * 1024 * 1024
# Where systems keep their certificate authorities; the OpenSSL that comes with Python often looks somewhere else.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class CannotDial(RuntimeError):
    """A file for TLS cannot be used; the message names the file."""


def read(files: TlsFiles) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The content of the files: authorities, key and certificate chain, in the order of grpc.ssl_channel_credentials.
    Without authorities, gRPC uses its own list. Raises CannotDial."""
    authorities = files.ca or system_bundle()
    return (
        _content(authorities) if authorities else None,
        _content(files.key) if files.key else None,
        _content(files.cert) if files.cert else None,
    )


def system_bundle() -> str:
    """The file with the system's certificate authorities; empty if there is none."""
    import ssl  # here, as loading OpenSSL takes time, and most endpoints need none of this

    paths = (os.environ.get("SSL_CERT_FILE", ""), ssl.get_default_verify_paths().cafile or "", *_BUNDLES)
    return next((path for path in paths if path and os.path.isfile(path)), "")


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise CannotDial(f"the file for TLS {path} cannot be read: {error.strerror or error}") from error
