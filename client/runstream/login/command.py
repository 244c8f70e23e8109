"""Logs in, once for all programs of this user, and out again."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from runstream._credentials import Secret, check_token
from runstream._endpoint import check_address
from runstream._profile import Login, login_path
from runstream.mlflow.address import http_url_of

_GRPC_PORT = 50051


def log_in(
    url: str,
    *,
    grpc_address: str = "",
    workspace: str = "",
    ca: str = "",
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Asks for the token, checks it with the service, and stores it. Returns a sentence that says what was done. Raises
    ValueError, OSError, RunstreamError."""
    address, http_url = addresses_of(url, grpc_address)
    path = login_path(environ)
    if not path:
        raise ValueError("the login cannot be stored: set XDG_CONFIG_HOME, or HOME, to an absolute path")
    ca = os.path.abspath(ca) if ca else environ.get("RUNSTREAM_TLS_CA", "").strip()
    if entered := _ask_for_token():
        token = check_token(entered, "what was entered")
    else:
        from runstream.login.browser import sign_in_with_browser

        signed_in = sign_in_with_browser(http_url, ca=ca)
        token, workspace = signed_in.token.reveal(), workspace or signed_in.workspace
    from runstream import client  # here, as it imports gRPC

    variables = {**environ, "RUNSTREAM_TLS_CA": ca}
    caller = client.Client(address, token=token, workspace=workspace or None, environ=variables).who_am_i()
    Login(path, address, http_url, caller.workspace, ca, Secret(token)).save()
    if not caller.authentication:
        return f"{address} does not ask for tokens; address and token are stored in {path}"
    return (
        f"logged in at {address} as {caller.principal!r}, who may {caller.role} in the workspace {caller.workspace!r}; "
        f"the token is in {path}, which only you can read"
    )


def log_out(environ: Mapping[str, str] = os.environ) -> str:
    """Deletes what `log_in` has stored. Raises OSError."""
    path = login_path(environ)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return "nobody is logged in"
    return f"deleted {path}. The token itself is still valid: `runstream token revoke` ends it"


def addresses_of(url: str, grpc_address: str = "") -> tuple[str, str]:
    """The gRPC address and the HTTP URL of a service, from one of them: the other one is on the same host, at its
    default port, with TLS if the first one has it. Raises ValueError."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in ("http", "https"):
        address = check_address(url)
        return (check_address(grpc_address) if grpc_address else address), http_url_of(address, "")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("the URL must not contain a token or password: this command asks for the token")
    if not parts.hostname:
        raise ValueError(f"{url!r} has no host; expected for example https://metrics.example.com:5000")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = f"{'grpcs://' if scheme == 'https' else ''}{host}:{_GRPC_PORT}"
    return check_address(grpc_address or usual), url.rstrip("/")


def _ask_for_token() -> str:
    """The token from the terminal, without showing it, or from a pipe. Empty: the user wants to sign in with the
    browser."""
    if sys.stdin.isatty():
        return getpass.getpass("Token (rst_...), or Enter to sign in with the browser: ").strip()
    line = sys.stdin.readline()
    if not line.strip():
        raise ValueError("standard input has no token: pipe it in, or run this command in a terminal")
    return line.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m runstream.login`, for installations without the command `runstream`."""
    from runstream.errors import RunstreamError

    parser = argparse.ArgumentParser("python -m runstream.login", description="Store address and token for this user.")
    parser.add_argument("url", nargs="?", help="the service: https://host:5000, or grpcs://host:50051")
    parser.add_argument("--grpc-address", default="", help="the gRPC address, if it is not port 50051 of the same host")
    parser.add_argument("--workspace", default="", help="the workspace, if the token is for several")
    parser.add_argument("--ca", default="", help="PEM file of the certificate authority; default: RUNSTREAM_TLS_CA")
    parser.add_argument("--out", action="store_true", help="log out: delete what was stored")
    parsed = parser.parse_args(arguments)
    if bool(parsed.url) == parsed.out:
        parser.error("expected either a URL or --out")
    try:
        if parsed.out:
            done = log_out()
        else:
            done = log_in(parsed.url, grpc_address=parsed.grpc_address, workspace=parsed.workspace, ca=parsed.ca)
    except (ValueError, OSError, RunstreamError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{done}\n")
    return 0
