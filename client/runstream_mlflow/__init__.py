"""The entry points of the plugin for MLflow. MLflow loads all of them whenever it is imported, so this module imports
nothing of runstream or MLflow: that happens when a scheme is used.

For `http` and `https`, MLflow's own builder is kept, unless RUNSTREAM_MLFLOW_HTTP is 1 when MLflow is imported.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_HTTP = "RUNSTREAM_MLFLOW_HTTP"
_MODULE_OF_BUILDERS = "mlflow.tracking._tracking_service.utils"


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """The tracking store of a URI with the scheme runstream."""
    from runstream.mlflow.builders import tracking_store

    return tracking_store(store_uri)


def registry_store(store_uri: str, tracking_uri: str | None = None) -> Any:
    """The model registry of a URI with the scheme runstream."""
    from runstream.mlflow.builders import registry_store

    return registry_store(store_uri)


def mlflow_artifacts(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """MLflow's own repository of a run's files, which only works with tracking URIs of the schemes http and https."""
    from runstream.mlflow.builders import mlflow_artifacts

    return mlflow_artifacts(artifact_uri, tracking_uri, registry_uri)


class WorkspaceHeader:
    """Adds the workspace of RUNSTREAM_WORKSPACE to MLflow's requests, unless MLflow has a workspace itself."""

    def in_context(self) -> bool:
        """Whether the tracking URI is one of the plugin's."""
        if _takes_http():
            return True
        from mlflow.tracking._tracking_service.utils import get_tracking_uri

        from runstream.mlflow.address import is_runstream

        return is_runstream(get_tracking_uri())

    def request_headers(self) -> dict[str, str]:
        """The header with the workspace; empty if there is none to add."""
        from runstream.mlflow.credentials import workspace_header

        return workspace_header()


def _takes_http() -> bool:
    return os.environ.get(_HTTP, "").strip().lower() in ("1", "true", "yes", "on")


def _http_with_journal(store_uri: str, artifact_uri: str | None = None) -> Any:
    from runstream.mlflow.builders import http_tracking_store

    return http_tracking_store(store_uri)


def _http_of_mlflow(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Does what MLflow's own builder does, for versions of MLflow that have it in another place."""
    from functools import partial

    from mlflow.store.tracking.rest_store import RestStore
    from mlflow.utils.credentials import get_default_host_creds

    return RestStore(partial(get_default_host_creds, store_uri))


def __getattr__(name: str) -> Any:
    """Resolves the entry point of http and https: MLflow replaces its own builder by what this returns."""
    if name != "http_tracking_store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _takes_http():
        return _http_with_journal
    return getattr(sys.modules.get(_MODULE_OF_BUILDERS), "_get_rest_store", _http_of_mlflow)
