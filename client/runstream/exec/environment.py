"""The variables with which clients in the program find the run: those of runstream, and of MLflow in any language."""

from __future__ import annotations

from collections.abc import Mapping

from runstream._endpoint import Endpoint
from runstream._outer_run import VARIABLE, OuterRun
from runstream.mlflow.address import HTTP_VARIABLE

_DEFAULT_EXPERIMENT = "Default"


def environment(environ: Mapping[str, str], outer: OuterRun, endpoint: Endpoint, http_url: str) -> dict[str, str]:
    """The environment of the program. For MLflow's clients, it gets the credentials that they would not find
    themselves; those that the user has set are kept."""
    ours = {
        VARIABLE: outer.to_variable(),
        "RUNSTREAM_ADDRESS": endpoint.address,
        "RUNSTREAM_RUN_ID": outer.run_id,
        HTTP_VARIABLE: http_url,
        "MLFLOW_TRACKING_URI": http_url,
        "MLFLOW_RUN_ID": outer.run_id,
        "MLFLOW_EXPERIMENT_NAME": outer.experiment or _DEFAULT_EXPERIMENT,
    }
    if workspace := endpoint.credentials.workspace:
        ours |= {"RUNSTREAM_WORKSPACE": workspace, "MLFLOW_WORKSPACE": workspace}
    # With the plugin for MLflow, if it is installed, metrics go through the journal, so they survive outages.
    usual = {"RUNSTREAM_MLFLOW_HTTP": "1", **_credentials(environ, endpoint)}
    # The id of another experiment would contradict its name.
    inherited = {name: value for name, value in environ.items() if name != "MLFLOW_EXPERIMENT_ID"}
    return {**usual, **inherited, **ours}


def _credentials(environ: Mapping[str, str], endpoint: Endpoint) -> dict[str, str]:
    """Credentials in the variables of MLflow's clients, which know neither RUNSTREAM_* nor the login."""
    found = {}
    if not environ.get("MLFLOW_TRACKING_USERNAME") and (token := endpoint.credentials.read(endpoint.address).secret):
        found["MLFLOW_TRACKING_TOKEN"] = token.reveal()
    if endpoint.tls.ca:
        found["MLFLOW_TRACKING_SERVER_CERT_PATH"] = endpoint.tls.ca
    return found
