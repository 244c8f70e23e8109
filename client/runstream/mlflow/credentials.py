"""Credentials for both connections of the plugin: gRPC for the journal, and HTTP for the rest of MLflow's API.

Each has variables of its own, and uses those of the other where it has none: a script that worked with MLFLOW_* also
works with the plugin, and one with RUNSTREAM_* needs no MLFLOW_*.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from runstream import _settings
from runstream._credentials import Secret, check_token, check_workspace
from runstream._endpoint import Endpoint
from runstream._settings import Settings
from runstream.mlflow.address import Address

_USERNAME, _PASSWORD, _TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"


def settings_of(address: Address, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of journals: those of `start_run`, but a token in the tracking URI comes first, and MLflow's
    variables last. Raises ValueError."""
    settings = _settings.from_environment(address.grpc, environ)
    credentials = settings.endpoint.credentials
    password = unquote(urlsplit(address.http_url).password or "")
    if password:
        credentials = credentials._replace(
            token=_secret(password, "the password in the tracking URI"),
            token_file="",
            login_file="",
            source="the password in the tracking URI",
        )
    elif not credentials.has_token:
        name = _PASSWORD if environ.get(_USERNAME) and environ.get(_PASSWORD) else _TOKEN
        if text := environ.get(name, "").strip():
            credentials = credentials._replace(token=_secret(text, name), source=name)
    if not credentials.workspace and (workspace := current_workspace()):
        credentials = credentials._replace(workspace=check_workspace(workspace, "MLFLOW_WORKSPACE"))
    return settings._replace(endpoint=settings.endpoint._replace(credentials=credentials))


def host_creds(address: Address, endpoint: Endpoint, host: str = "") -> Any:
    """The credentials of MLflow's HTTP requests: its own, and the plugin's where it has none. `host`: a URL below that
    of the service. Called for each request, so that the token is read again."""
    from mlflow.utils.credentials import get_default_host_creds

    creds = get_default_host_creds(host or address.http_url)
    if urlsplit(creds.host).netloc != urlsplit(address.http_url).netloc:
        return creds  # files of another server
    has_own = creds.token or creds.username or creds.auth or creds.aws_sigv4 or urlsplit(creds.host).password
    if not has_own:
        creds.token = endpoint.credentials.read(endpoint.address).secret.reveal() or None
    if endpoint.tls.ca and not creds.server_cert_path and not creds.ignore_tls_verification:
        creds.server_cert_path = endpoint.tls.ca
    if endpoint.tls.cert and not creds.client_cert_path:
        creds.client_cert_path = (endpoint.tls.cert, endpoint.tls.key)  # as requests takes them
    return creds


def endpoint_of(address: Address, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """The endpoint with the plugin's credentials, for `host_creds`."""
    return _settings.from_environment(address.grpc, environ).endpoint


def workspace_header(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The header with the workspace of RUNSTREAM_WORKSPACE or runstream.toml; empty if MLflow has a workspace
    itself."""
    if current_workspace():
        return {}
    workspace = _settings.from_environment(None, environ).endpoint.credentials.workspace
    return {"X-MLFLOW-WORKSPACE": workspace} if workspace else {}


def current_workspace() -> str:
    """The workspace of `mlflow.set_workspace` or MLFLOW_WORKSPACE; empty if there is none, as before MLflow 3.10."""
    try:
        from mlflow.utils.workspace_context import get_request_workspace
    except ImportError:
        return ""
    return get_request_workspace() or ""


def _secret(text: str, what: str) -> Secret:
    return Secret(check_token(text, what))
