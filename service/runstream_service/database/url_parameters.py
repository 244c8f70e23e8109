"""The parameters that a URL of PostgreSQL may have: those of libpq, which cloud providers put into their URLs.

The driver treats an unknown parameter as a setting of the session, and PostgreSQL then reports an "unrecognized
configuration parameter". So they are checked here, with messages that say what to write instead.
"""

from __future__ import annotations

import os
import ssl
from urllib.parse import quote, unquote

# Read in database_url.py.
SERVERS = ("host", "port", "target_session_attrs")
_PASSED_ON = {
    *SERVERS,
    *("dbname", "database", "user", "password", "passfile", "service", "options", "krbsrvname", "gsslib"),
    *("sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
}
# The service uses its own values for these, or its driver does not know them and does not need them.
_WITHOUT_EFFECT = {
    *("application_name", "fallback_application_name", "client_encoding", "connect_timeout", "tcp_user_timeout"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "load_balance_hosts"),
    *("channel_binding", "gssencmode", "gssdelegation", "sslcompression", "sslsni", "sslcertmode", "sslkeylogfile"),
    *("min_protocol_version", "max_protocol_version"),
}
_INSTEAD = {
    "hostaddr": "is not supported; write the address where the host stands",
    "schema": "is no parameter of PostgreSQL's URLs; write options=-csearch_path%3DNAME",
    "currentSchema": "is no parameter of PostgreSQL's URLs; write options=-csearch_path%3DNAME",
    "search_path": "is no parameter of PostgreSQL's URLs; write options=-csearch_path%3DNAME",
    "role": "is no parameter of PostgreSQL's URLs; write options=-crole%3DNAME",
    "ssl": "is no parameter of PostgreSQL's URLs; write sslmode=require, or sslmode=verify-full with sslrootcert",
    "pgbouncer": "is no parameter of PostgreSQL's URLs; leave it out, and give the address of PostgreSQL itself, or of "
    "a pooler in session mode",
    "replication": "asks for a connection of another kind; leave it out",
    # These make a connection safer, so they are not ignored silently.
    "require_auth": "is not supported, so it would not be checked; leave it out",
    "requirepeer": "is not supported, so it would not be checked; leave it out",
    "sslcrldir": "is not supported, so it would not be checked; give one file as sslcrl",
}
_NO_PARAMETER = (
    "is no parameter of PostgreSQL's URLs; leave it out (settings of the session are written as options=-cNAME%3DVALUE)"
)


def select(pairs: list[tuple[str, str]], *, encode: str) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """The parameters to pass to the driver, and the names of those that have no effect. Values stay percent-encoded.
    `encode`: a hint on how to write special characters, for messages.

    Raises:
        ValueError: a parameter is unknown or not supported. The message shows its name, unless that may be part of a
        password.
    """
    maybe_password = any("@" in value for _, value in pairs)  # of a login with a ? in it
    kept, ignored = [], []
    for position, (name, value) in enumerate(pairs, start=1):
        if name == "gssencmode" and value == "require":
            raise ValueError("gssencmode=require is not supported; use TLS (sslmode)")
        if name in _PASSED_ON:
            kept.append((name, _system_certificates(value) if name == "sslrootcert" else value))
        elif name in _WITHOUT_EFFECT:
            ignored.append(name)
        elif maybe_password:
            raise ValueError(
                f"parameter {position} after the ? of the URL is no parameter of PostgreSQL's URLs. {encode}"
            )
        else:
            raise ValueError(f"{name[:40]} {_INSTEAD.get(name, _NO_PARAMETER)}")
    return kept, tuple(ignored)


def _system_certificates(value: str) -> str:
    """`sslrootcert=system` means the authorities that the system trusts; the driver would look for a file `system`."""
    if unquote(value) != "system" or os.path.exists("system"):
        return value
    paths = ssl.get_default_verify_paths()
    return quote(paths.cafile or paths.openssl_cafile, safe="")
