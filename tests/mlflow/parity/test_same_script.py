"""A training script leaves the same on a stock server and here, as MLflow's client sees it, but for ids and times."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from typing import Any

import mlflow
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion

from tests.mlflow.training_constants import EPOCHS, RATES, SCRIPT
from tests.support.preloaded import Preloaded
from tests.support.stock import SCRIPT_MODULES, mlflow_environment

_ID = re.compile(r"\b(?:m-)?[0-9a-f]{32}\b")
_PLACE = re.compile(r"\bmlflow-artifacts:/\d+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?")
_LONG_AGO_MS = 1_700_000_000_000


# What MLflow's client gives as an entity, a dictionary or a list.
Left = dict[str, Any]


def test_a_training_script_leaves_the_same_on_both(server: str, stock: str) -> None:
    experiment = f"same {uuid.uuid4().hex}"
    scripts = [
        Preloaded(
            [sys.executable, str(SCRIPT), url, experiment],
            mlflow_environment(),
            modules=SCRIPT_MODULES,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for url in (stock, server)
    ]
    for script in scripts:
        _, said = script.communicate(timeout=250)
        assert script.returncode == 0, said[-3_000:]

    theirs, ours = (_left(url, experiment) for url in (stock, server))
    assert len(ours["runs"]) == len(RATES)
    assert all(len(run["metrics"]["accuracy"]) == EPOCHS for run in ours["runs"])
    for what, left in theirs.items():
        assert ours[what] == left, what


def _left(url: str, experiment: str) -> Left:
    """Everything of an experiment."""
    mlflow.set_tracking_uri(url)
    client = mlflow.MlflowClient(url)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    name = f"{experiment}-classifier"
    runs = client.search_runs([found.experiment_id], order_by=["start_time"])
    models = client.search_logged_models([found.experiment_id], order_by=[{"field_name": "creation_time"}])
    names = {run.info.run_id: f"run {position}" for position, run in enumerate(runs)}
    names |= {model.model_id: f"model {position}" for position, model in enumerate(models)}
    left = {
        "experiment": found,
        "runs": [_run(client, run.info.run_id) for run in runs],
        "found runs": runs,
        "models": [_model(client, model.model_id) for model in models],
        "found models": list(models),
        "registered model": client.get_registered_model(name),
        "version": client.get_model_version(name, "1"),
        "found versions": list(client.search_model_versions(f"name = '{name}'")),
    }
    return {what: _plain(value, names) for what, value in left.items()}


def _run(client: mlflow.MlflowClient, run_id: str) -> Left:
    run: Run = client.get_run(run_id)
    metrics = {key: client.get_metric_history(run_id, key) for key in run.data.metrics}
    listed = client.list_artifacts(run_id) + client.list_artifacts(run_id, "reports")
    return {"run": run, "metrics": metrics, "files": listed}


def _model(client: mlflow.MlflowClient, model_id: str) -> Left:
    """The fields and files of a model. MLmodel's size is left out: it contains ids, which are longer on one server."""
    files = client.list_logged_model_artifacts(model_id)
    sizes = {file.path: file.file_size for file in files if file.path != "MLmodel"}
    model = client.get_logged_model(model_id)
    described = mlflow.artifacts.load_text(f"{model.artifact_location}/MLmodel")
    return {"model": model, "sizes": sizes, "files": [file.path for file in files], "MLmodel": described.splitlines()}


def _plain(value: Any, names: dict[str, str]) -> Any:
    """Ids under their names, and no times."""
    if isinstance(value, str):
        value = _ID.sub(lambda found: names.get(found[0], "«id»"), names.get(value, value))
        return _TIME.sub("«time»", _PLACE.sub("«store»", value))
    if isinstance(value, int) and value > _LONG_AGO_MS:
        return "«time»"
    if isinstance(value, list):
        return [_plain(item, names) for item in value]
    if isinstance(value, (LoggedModel, ModelVersion)):
        # Of different keys, in no order: the metrics of a model, which its version repeats.
        value = {**dict(value), "metrics": sorted(value.metrics or (), key=lambda metric: str(metric.key))}
    if hasattr(value, "_properties"):
        value = dict(value)
    if isinstance(value, dict):
        return {
            # An experiment's id is a small number on a stock server: only its field tells it from others.
            _plain(key, names): "experiment" if key == "experiment_id" else _plain(item, names)
            for key, item in value.items()
        }
    return value
