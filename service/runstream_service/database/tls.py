"""Explains failures of TLS between the service and PostgreSQL, none of which waiting cures."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

# Parameters of a URL that name a file, and the environment variable that is used without the parameter.
_FILES = {
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
}

# Keys are OpenSSL's names of the reasons.
_REASONS = {
    "KEY_VALUES_MISMATCH": "the key (sslkey) is not the one of the certificate (sslcert)",
    "NO_CERTIFICATE_OR_CRL_FOUND": "a file that should hold certificates (sslrootcert or sslcrl) holds none",
    "NO_START_LINE": "the file of sslcert or sslkey holds no certificate or no key",
    "PEM_LIB": "the file of sslcert or sslkey holds no certificate or no key",
    "BAD_DECRYPT": "the password (sslpassword) does not open the key (sslkey)",
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not accept our certificate (sslcert)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server asks for a client certificate; give sslcert and sslkey",
}


def check_files(parameters: Mapping[str, str]) -> None:
    """Checks that the files of certificates can be read. The driver would only report "no such file", as it does for
    the socket of a server that has not started yet.

    Raises:
        ValueError: its message names the parameter and the file.
    """
    for name, variable in _FILES.items():
        if path := parameters.get(name) or os.environ.get(variable):
            try:
                open(path, "rb").close()
            except OSError as error:
                raise ValueError(f"cannot read the file {path} of {name}: {error.strerror}") from error


def explain_failure(error: BaseException) -> str | None:
    """What is wrong with TLS, for a message; None if the error has another cause, or may go away."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server is not accepted: {error.verify_message}; sslrootcert has to name the "
            "certificate of the authority that signed it, and for sslmode=verify-full the host has to be one that it "
            "names"
        )
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
        return None
    if isinstance(error, ssl.SSLError):
        reason = "PEM_LIB" if "PEM lib" in str(error) else error.reason or ""
        return _REASONS.get(reason, f"TLS failed: {error.reason or error}")
    if isinstance(error, ConnectionError) and "SSL upgrade" in str(error):  # the driver's wording
        return "the server does not speak TLS, which sslmode asks for; sslmode=prefer or disable does without"
    return None
