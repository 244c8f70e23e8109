"""Runs `runstream import`, and compares what is on both sides."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow

from tests.support import preloaded
from tests.support.serve import COMMAND, ServeProcess, command_environment


@dataclass(frozen=True)
class Imported:
    """The result of the command."""

    code: int
    out: str
    err: str

    def counts(self, what: str) -> tuple[int, int]:
        """How many objects of a kind are new, and how many existed."""
        line = next((line for line in self.out.splitlines() if " ".join(line.split()[:-2]) == what), "")
        new, there = line.split()[-2:] if line else ("0", "0")
        return int(new.replace(",", "")), int(there.replace(",", ""))


def environment(service: ServeProcess, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The addresses of a service, for a command."""
    addresses = {
        "RUNSTREAM_ADDRESS": service.grpc_address,
        "RUNSTREAM_MLFLOW_HTTP_ADDRESS": service.http_url,
    }
    return command_environment({**addresses, **(extra or {})})


def run_import(
    service: ServeProcess, source: str, *options: str, tracker: str = "mlflow", timeout_s: float = 120
) -> Imported:
    """`runstream import TRACKER SOURCE`, in a process of its own."""
    command = [*COMMAND, "import", tracker, source, *options]
    done = preloaded.run(command, environment(service), timeout_s=timeout_s)
    return Imported(done.returncode, done.stdout, done.stderr)


def run_of(url: str, run_id: str) -> dict[str, Any]:
    """A run as MLflow's client sees it, but for what depends on the server."""
    client = mlflow.MlflowClient(url, url)
    run = client.get_run(run_id)
    info = {name: getattr(run.info, name) for name in ("run_id", "run_name", "status", "start_time", "end_time")}
    history = {
        key: sorted((m.step, m.timestamp, repr(value_of(m.value))) for m in client.get_metric_history(run_id, key))
        for key in run.data.metrics
    }
    experiment = client.get_experiment(run.info.experiment_id).name
    return {
        "info": info,
        "params": run.data.params,
        "tags": run.data.tags,
        "history": history,
        "in": experiment,
        "inputs": run.inputs.to_dictionary(),
        "outputs": run.outputs.to_dictionary(),
        "files": _files(url, f"runs:/{run_id}/"),
    }


def model_of(url: str, model_id: str) -> dict[str, Any]:
    """A logged model as MLflow's client sees it."""
    client = mlflow.MlflowClient(url, url)
    model = client.get_logged_model(model_id)
    names = ("model_id", "name", "model_type", "status", "source_run_id", "creation_timestamp", "params", "tags")
    metrics = [metric.to_dictionary() for metric in model.metrics or ()]
    files = _files(url, f"models:/{model_id}")
    return {**{name: getattr(model, name) for name in names}, "metrics": metrics, "files": files}


def registered_of(url: str, name: str) -> dict[str, Any]:
    """A registered model with its versions, but for the places of their files."""
    client = mlflow.MlflowClient(url, url)
    model = client.get_registered_model(name)
    names = ("version", "description", "current_stage", "run_id", "creation_timestamp", "tags")
    versions = client.search_model_versions(f"name = '{name}'")
    return {
        "model": (model.description, model.tags, model.aliases, model.creation_timestamp),
        "versions": [{name: getattr(one, name) for name in names} for one in versions],
        "files": [_files(url, f"models:/{name}/{one.version}") for one in versions],
    }


def _files(url: str, uri: str) -> dict[str, bytes]:
    """All files of an object, downloaded by MLflow's client."""
    mlflow.set_tracking_uri(url)  # models are looked for there alone
    mlflow.set_registry_uri(url)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(mlflow.artifacts.download_artifacts(uri, dst_path=directory, tracking_uri=url, registry_uri=url))
        return {
            path.relative_to(place).as_posix(): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()
        }


def value_of(value: float) -> float:
    """MLflow's databases have the greatest double in the place of infinity."""
    return value * 2 if abs(value) == 1.7976931348623157e308 else value
