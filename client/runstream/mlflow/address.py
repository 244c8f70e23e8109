"""The two addresses of a service: gRPC for the journal, HTTP for the rest of MLflow's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit, urlunsplit

from runstream._endpoint import check_address
from runstream._profile import stored_login

SCHEME = "runstream"
TLS_SCHEME = "runstreams"
HTTP_VARIABLE = "RUNSTREAM_MLFLOW_HTTP_ADDRESS"
_GRPC_PORT, _HTTP_PORT = 50051, 5000
_TLS = "grpcs://"
_FORM = "runstream://host:50051, or runstream://host:50051?http=host:5000; with TLS runstreams://"


@dataclass(frozen=True)
class Address:
    """The two addresses of a service. `grpc` is host:port, with TLS grpcs://host:port; `http_url` has a scheme, and no
    slash at its end."""

    grpc: str
    http_url: str


def is_runstream(uri: str | None) -> bool:
    """Whether a tracking URI has the scheme of this plugin."""
    return (uri or "").partition(":")[0].lower() in (SCHEME, TLS_SCHEME)


def of_runstream_uri(uri: str, environ: Mapping[str, str]) -> Address:
    """Both addresses of `runstream://host:port`, or of `runstreams://host:port`, where both use TLS. HTTP is at the
    same host, port 5000, unless the query or the environment names another address. Raises ValueError, which says what
    is wrong with the URI."""
    parts = urlsplit(uri)
    host, port = _host_and_port(parts.netloc, uri)
    if parts.path.strip("/") or parts.fragment:
        raise ValueError(f"tracking URI {uri!r}: only ?http=... may follow host and port; expected {_FORM}")
    query = parse_qs(parts.query, keep_blank_values=True)
    unknown = sorted(query.keys() - {"http"})
    if unknown:
        raise ValueError(f"tracking URI {uri!r}: unknown parameter {unknown[0]!r}; expected {_FORM}")
    setting = query.get("http", [""])[-1] or environ.get(HTTP_VARIABLE, "").strip()
    tls = parts.scheme.lower() == TLS_SCHEME
    http = _http_url(setting, tls=tls) if setting else f"http{'s' if tls else ''}://{host}:{_HTTP_PORT}"
    return Address(f"{_TLS if tls else ''}{host}:{port or _GRPC_PORT}", http)


def of_http_uri(uri: str, environ: Mapping[str, str]) -> Address:
    """Both addresses of `http://host:port` or `https://host:port`: gRPC is at RUNSTREAM_ADDRESS, else at the same host,
    port 50051, with TLS if the URI has it. Raises ValueError."""
    parts = urlsplit(uri)
    host, _ = _host_and_port(parts.netloc.rpartition("@")[2], uri)
    usual = f"{_TLS if parts.scheme.lower() == 'https' else ''}{host}:{_GRPC_PORT}"
    setting = environ.get("RUNSTREAM_ADDRESS", "").strip()
    return Address(check_address(setting) if setting else usual, uri.rstrip("/"))


def http_url_of(address: str, http: str) -> str:
    """The HTTP URL of the service at a gRPC address: `http` if it is set, else the same host with port 5000, with TLS
    if the gRPC address has it. Raises ValueError."""
    tls = address.startswith(_TLS)
    if http:
        return _http_url(http, tls=tls)
    host = address.rpartition("/")[2].rpartition(":")[0]
    return f"http{'s' if tls else ''}://{host or '127.0.0.1'}:{_HTTP_PORT}"


def http_url_here(address: str, environ: Mapping[str, str]) -> str:
    """The HTTP URL of the service at a gRPC address, as the environment or the login names it, else as `http_url_of`
    derives it. Raises ValueError."""
    login = stored_login(environ)
    of_login = login.http_url if login.address == address else ""
    return http_url_of(address, environ.get(HTTP_VARIABLE, "").strip() or of_login)


def uri_with_token(http_url: str, token: str) -> str:
    """A tracking URI of MLflow that contains a token. MLflow's clients send it as a password; the user name does not
    matter."""
    parts = urlsplit(http_url)
    return urlunsplit(parts._replace(netloc=f"token:{token}@{parts.netloc.rpartition('@')[2]}"))


def _host_and_port(netloc: str, uri: str) -> tuple[str, int | None]:
    if "@" in netloc:
        raise ValueError(
            f"tracking URI with the host {netloc.rpartition('@')[2]!r}: it must not contain a password; set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    parts = urlsplit(f"//{netloc}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"tracking URI {uri!r}: its port is not a number up to 65535; expected {_FORM}") from None
    if not parts.hostname:
        raise ValueError(f"tracking URI {uri!r} has no host; expected {_FORM}")
    return f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname, port


def _http_url(address: str, *, tls: bool) -> str:
    url = address if "://" in address else f"http{'s' if tls else ''}://{address}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"address of MLflow's API {address!r} (?http= in the tracking URI, or {HTTP_VARIABLE}): expected host:port "
            "or a URL with http or https"
        )
    return url.rstrip("/")
