"""Builds the stores and repositories for the entry points. MLflow keeps one store for each tracking URI."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from runstream.mlflow.address import Address, is_runstream, of_http_uri, of_runstream_uri
from runstream.mlflow.credentials import endpoint_of, host_creds


def tracking_store(store_uri: str) -> Any:
    """The tracking store of `runstream://host:port`. Raises MlflowException for a URI of another form."""
    return _store(_checked(store_uri))


def http_tracking_store(store_uri: str) -> Any:
    """The tracking store of `http://host:port` where RUNSTREAM_MLFLOW_HTTP=1. Raises MlflowException for a URI of
    another form."""
    try:
        return _store(of_http_uri(store_uri, os.environ))
    except ValueError as error:
        raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error


def registry_store(store_uri: str) -> Any:
    """MLflow's own model registry over HTTP, with the plugin's credentials."""
    from mlflow.store.model_registry.rest_store import RestStore

    address = _checked(store_uri)
    return RestStore(partial(host_creds, address, endpoint_of(address)))


def mlflow_artifacts(artifact_uri: str, tracking_uri: str | None, registry_uri: str | None) -> Any:
    """MLflow's own repository of files, with the HTTP URL instead of a tracking URI of the plugin."""
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from mlflow.tracking._tracking_service.utils import get_tracking_uri

    tracking_uri = tracking_uri or get_tracking_uri()
    if is_runstream(tracking_uri):
        from runstream.mlflow.artifacts import use_for_files

        address = _checked(tracking_uri)
        use_for_files(address)
        tracking_uri = address.http_url
    return MlflowArtifactsRepository(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)


def _checked(uri: str) -> Address:
    try:
        return of_runstream_uri(uri, os.environ)
    except ValueError as error:
        raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error


def _store(address: Address) -> Any:
    from runstream.mlflow.journal_sink import sink_of
    from runstream.mlflow.tracking_store import RunstreamStore

    return RunstreamStore(partial(host_creds, address, endpoint_of(address)), sink_of(address))
