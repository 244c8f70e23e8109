"""Credentials for MLflow's own repository of files.

It takes the credentials of each request from `get_default_host_creds`, which it calls in a dozen places and which only
knows MLflow's variables. So this function is replaced in its two modules, for hosts that the plugin is used with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from mlflow.store.artifact import http_artifact_repo, mlflow_artifacts_repo

from runstream.mlflow.address import Address
from runstream.mlflow.credentials import endpoint_of, host_creds

_HostCreds = Callable[[str], Any]

_of_hosts: dict[str, _HostCreds] = {}  # by host and port


def use_for_files(address: Address) -> None:
    """Lets requests for files of this service use the plugin's credentials from now on."""
    host = urlsplit(address.http_url).netloc
    if host in _of_hosts:
        return
    endpoint = endpoint_of(address)
    _of_hosts[host] = lambda uri: host_creds(address, endpoint, uri)
    for module in (http_artifact_repo, mlflow_artifacts_repo):
        if not isinstance(getattr(module, "get_default_host_creds", None), _Replacement):
            module.get_default_host_creds = _Replacement()


class _Replacement:
    def __call__(self, uri: str) -> Any:
        from mlflow.utils.credentials import get_default_host_creds

        return _of_hosts.get(urlsplit(uri).netloc, get_default_host_creds)(uri)
