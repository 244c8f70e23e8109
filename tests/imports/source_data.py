"""What a team has logged to an MLflow server, by MLflow's own client."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import mlflow
from mlflow.entities import Metric, Param, RunTag

STEPS = 300


@dataclass
class Filled:
    """Ids in the source."""

    experiments: dict[str, str] = field(default_factory=dict)  # name -> id
    runs: dict[str, str] = field(default_factory=dict)  # name -> id
    deleted_run: str = ""


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
    if number != 1:  # one goes on
        client.set_terminated(run_id, "FINISHED" if number else "KILLED")
    return run_id
