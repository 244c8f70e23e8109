"""An endpoint: where the service is, how the connection is protected, and who calls. Channels and streams are shared by
endpoint: two runs with different tokens share neither."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from runstream._credentials import Credentials, Metadata, Secret, check_token, check_workspace
from runstream._profile import Login, Project, stored_login
from runstream._run_logger import warn_about_process

DEFAULT_ADDRESS = "127.0.0.1:50051"
_TLS = "grpcs://"


class TlsFiles(NamedTuple):
    """Paths of PEM files: the certificate authorities to trust (empty: the system's), and the certificate and key of
    this client (empty: it has none)."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class Endpoint(NamedTuple):
    """`address` is host:port or another target of gRPC; with TLS it begins with grpcs://."""

    address: str = DEFAULT_ADDRESS
    tls: TlsFiles = TlsFiles()
    credentials: Credentials = Credentials()

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.address.startswith(_TLS)

    @property
    def target(self) -> str:
        """The address as gRPC takes it."""
        return self.address.removeprefix(_TLS)

    def metadata(self) -> Metadata:
        """The metadata of a call, with token and workspace. Reads the token's file, if the token is in one."""
        return self.credentials.metadata_with(self.credentials.read(self.address))

    def host_and_port(self) -> tuple[str, int] | None:
        """The host and port of an address; None for one that only gRPC can resolve."""
        host, _, port = self.target.removeprefix("dns:///").rpartition(":")
        if "/" in host or not port.isdecimal() or self.target.startswith(("unix:", "ipv4:", "ipv6:")):
            return None
        return host.strip("[]"), int(port)


def check_address(address: object) -> str:
    """Checks an address: host:port, or a gRPC target such as dns:///host:port or unix:/path; with grpcs:// or https://
    before it, over TLS. Returns it in its only internal form: https:// becomes grpcs://, and grpc:// is removed. Raises
    TypeError or ValueError."""
    if not isinstance(address, str):
        raise TypeError(f"address must be a string such as {DEFAULT_ADDRESS!r}, not {type(address).__name__}")
    scheme, separator, rest = address.partition("://")
    if separator and scheme == "http":
        raise ValueError(
            f"address {address!r}: expected the gRPC address as host:port, without http://; with TLS grpcs://host:port"
        )
    if separator and scheme in ("grpc", "grpcs", "https"):
        rest = rest.rstrip("/") if scheme == "https" else rest
    else:
        scheme, rest = "", address
    if not rest or address != address.strip() or ":" not in rest or (scheme == "https" and "/" in rest):
        raise ValueError(
            f"address {address!r}: expected host:port, dns:///host:port or unix:/path; with TLS grpcs://host:port"
        )
    if "@" in rest:
        raise ValueError(
            "address: it must not contain a user or password; set RUNSTREAM_TOKEN or RUNSTREAM_TOKEN_FILE instead"
        )
    return f"{_TLS}{rest}" if scheme in ("grpcs", "https") else rest


def resolve(
    address: str | None,
    environ: Mapping[str, str],
    *,
    project: Project = Project(),  # noqa: B008 (immutable)
    token: str | None = None,
    workspace: str | None = None,
) -> Endpoint:
    """The endpoint from arguments, else the environment, else the project's file, else the login, else defaults. Raises
    TypeError or ValueError for a wrong argument or address; a wrong token in a variable causes a warning and is not
    used."""
    login = stored_login(environ)
    chosen = address if address is not None else _variable(environ, "RUNSTREAM_ADDRESS") or project.address
    where = check_address(chosen or login.address or DEFAULT_ADDRESS)
    if login.address != where:
        login = Login(login.path, problem=login.problem)
    credentials = _credentials(environ, project, login, token, workspace)
    endpoint = Endpoint(where, _tls_files(environ, login), credentials)
    if endpoint.tls != TlsFiles() and not endpoint.uses_tls:
        endpoint = endpoint._replace(tls=TlsFiles())
        if _variable(environ, "RUNSTREAM_TLS_CA"):
            _warn(
                f"RUNSTREAM_TLS_CA is not used, as the address {where} is one without TLS; if the service uses TLS, "
                f"its address is grpcs://{where}"
            )
    return endpoint


def is_exposed(endpoint: Endpoint) -> bool:
    """Whether a token is sent without encryption to another machine."""
    if endpoint.uses_tls or not endpoint.credentials.has_token or endpoint.target.startswith("unix:"):
        return False
    place = endpoint.host_and_port()
    host = place[0] if place else endpoint.target.partition(":")[2].partition(":")[0]
    return not (host in ("localhost", "::1") or host.startswith("127."))


EXPOSED = (
    "the token is sent to %s without TLS, so others on the network can read and use it; use an address such as "
    "grpcs://host:port, or make sure that nobody else is on that network (said once)"
)


def _credentials(
    environ: Mapping[str, str], project: Project, login: Login, token: str | None, workspace: str | None
) -> Credentials:
    where = _workspace(environ, project, workspace)
    if token is not None:
        return Credentials(Secret(check_token(token, "token")), workspace=where, source="the token passed as token=")
    if text := _variable(environ, "RUNSTREAM_TOKEN"):
        try:
            return Credentials(Secret(check_token(text, "RUNSTREAM_TOKEN")), workspace=where, source="RUNSTREAM_TOKEN")
        except ValueError as error:
            _warn(f"{error}; it is not used")
    if path := _variable(environ, "RUNSTREAM_TOKEN_FILE"):
        path = os.path.abspath(path)
        return Credentials(token_file=path, workspace=where, source=f"the token file {path}")
    if login.token:
        return Credentials(login_file=login.path, workspace=where or login.workspace, source="the token of the login")
    if login.problem:
        _warn(login.problem)
    return Credentials(workspace=where)


def _workspace(environ: Mapping[str, str], project: Project, workspace: str | None) -> str:
    if workspace is not None:
        return check_workspace(workspace, "workspace")
    named = _variable(environ, "RUNSTREAM_WORKSPACE")
    return check_workspace(named, "RUNSTREAM_WORKSPACE") if named else project.workspace


def _tls_files(environ: Mapping[str, str], login: Login) -> TlsFiles:
    names = ("RUNSTREAM_TLS_CA", "RUNSTREAM_TLS_CERT", "RUNSTREAM_TLS_KEY")
    ca, cert, key = (os.path.abspath(path) if (path := _variable(environ, name)) else "" for name in names)
    if bool(cert) != bool(key):
        there, missing = names[1:] if cert else reversed(names[1:])
        raise ValueError(f"{there} is set and {missing} is not: a client's certificate needs both")
    return TlsFiles(ca or login.tls_ca, cert, key)


def _warn(text: str) -> None:
    """Warns at most once a minute, as endpoints are resolved again and again."""
    warn_about_process("%s", text, about=text)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()
