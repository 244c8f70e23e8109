"""The data that a team has logged to an MLflow server, with MLflow's own client."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag

STEPS = 60


@dataclass
class Filled:
    """The ids of the data in the source."""

    experiments: dict[str, str] = field(default_factory=dict)  # name -> id
    runs: dict[str, str] = field(default_factory=dict)  # name -> id
    deleted_run: str = ""
    model: str = ""  # the id of a logged model
    registered: str = ""  # the name of a registered model, with the versions 2 and 3


def fill(url: str, prefix: str) -> Filled:
    """Experiments whose names begin with `prefix`, and all that belongs to them."""
    client, filled = mlflow.MlflowClient(url, url), Filled()
    for name in ("digits", "words"):
        full = f"{prefix} {name}"
        filled.experiments[full] = client.create_experiment(full, tags={"team": name, "purpose": "importing ä"})
    for name, experiment_id in filled.experiments.items():
        for number in range(3):
            run_name = f"{name} {number}"
            filled.runs[run_name] = _run(client, experiment_id, run_name, number)
        child = client.create_run(experiment_id, tags={"mlflow.parentRunId": filled.runs[run_name]})
        client.set_terminated(child.info.run_id, "FAILED")
        filled.runs[f"{name} child"] = child.info.run_id
    _models(client, filled, prefix)
    filled.deleted_run = filled.runs[f"{prefix} words 0"]
    client.delete_run(filled.deleted_run)
    return filled


def _run(client: mlflow.MlflowClient, experiment_id: str, name: str, number: int) -> str:
    run_id: str = client.create_run(
        experiment_id, run_name=name, tags={"mlflow.user": "ada", "long": "x" * 5_000}
    ).info.run_id
    begun_ms = int(time.time() * 1_000) - 1_000_000
    points = [Metric("train/loss", math.sin(step) + number, begun_ms + 7 * step, step) for step in range(STEPS)]
    # Late, repeated, without a number, and infinite.
    points += [Metric("train/loss", 7.5, begun_ms + 9_000, 3), Metric("lr: log10/a b", math.nan, begun_ms, -5)]
    points += [Metric("lr: log10/a b", value, begun_ms + 1, 1) for value in (math.inf, -math.inf, -0.0, 5e-324)]
    for start in range(0, len(points), 1_000):
        client.log_batch(run_id, metrics=points[start : start + 1_000])
    params = [Param(f"param {at}", str(at * number)) for at in range(20)] + [Param("long", "y" * 6_000)]
    client.log_batch(run_id, params=params, tags=[RunTag("mlflow.note.content", f"the {number}th")])
    data = Dataset("digits", f"d{number}", "code", '{"tags": {}}', schema='{"columns": []}', profile="ä" * 70_000)
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    client.log_text(run_id, f"the report of {name}\n" * 100, "reports/deep/report ä?#%.txt")
    client.log_text(run_id, "", "empty.txt")
    if number != 1:  # one goes on
        client.set_terminated(run_id, "FINISHED" if number else "KILLED")
    return run_id


def _models(client: mlflow.MlflowClient, filled: Filled, prefix: str) -> None:
    """A logged model with its files, and a registered one: version 1 is deleted, 2 is a run's, 3 the logged model's."""
    run_id = filled.runs[f"{prefix} digits 0"]
    experiment_id = filled.experiments[f"{prefix} digits"]
    model = client.create_logged_model(
        experiment_id, "classifier", run_id, {"kind": "test", "long": "z" * 3_000}, {"depth": "3"}, "sklearn"
    )
    filled.model, filled.registered = model.model_id, f"{prefix} classifier"
    with tempfile.TemporaryDirectory() as directory:
        for name in ("MLmodel", "weights.bin"):
            Path(directory, name).write_bytes(name.encode() * 1_000)
        client.log_model_artifacts(model.model_id, directory)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 7)])
    client.log_metric(
        run_id, "test/accuracy", 0.5, step=7, model_id=model.model_id, dataset_name="d", dataset_digest="1"
    )
    client.create_registered_model(filled.registered, {"team": "a"}, "what it is")
    sources = (
        f"runs:/{run_id}/reports",
        f"{client.get_run(run_id).info.artifact_uri}/reports",
        f"models:/{model.model_id}",
    )
    for number, source in enumerate(sources, 1):
        of_model = model.model_id if number == 3 else None
        client.create_model_version(
            filled.registered, source, run_id, {"number": str(number)}, description=f"no. {number}", model_id=of_model
        )
    client.delete_model_version(filled.registered, "1")
    client.set_registered_model_alias(filled.registered, "champion", "2")
    client.transition_model_version_stage(filled.registered, "3", "Staging")
