"""Writes the data of an old MLflow, as the fixture mlflow-VERSION.json next to this file. Run with that MLflow:

python -m venv old
old/bin/pip install mlflow-skinny==2.9.2 'sqlalchemy<2.1' 'alembic<2' sqlparse 'numpy<2' pandas docker
cd "$(mktemp -d)" && .../old/bin/python .../tests/imports/old/write.py
"""

import json
import math
import os
import sqlite3
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

HERE = Path(__file__).parent
VERSION = tuple(int(part) for part in mlflow.__version__.split(".")[:2])
STEPS = 20


def write(uri: str) -> None:
    """A run with all that this version knows, a deleted one, and a registered model."""
    client = MlflowClient(uri, uri)
    experiment = client.create_experiment("old one", tags={"team": "a"})
    run = client.create_run(experiment, tags={"mlflow.user": "ada", "mlflow.runName": "first"})
    run_id = run.info.run_id
    metrics = [Metric("loss/a b", step / 3, 1_600_000_000_000 + step, step) for step in range(STEPS)]
    metrics += [Metric("odd", value, 1_600_000_000_000, 3) for value in (math.nan, math.inf, -math.inf)]
    params, tags = [Param("lr", "0.1"), Param("a/b", "c")], [RunTag("x/y", "zä")]
    client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
    Path("report.txt").write_text("hello")
    client.log_artifact(run_id, "report.txt", "sub")
    if VERSION >= (2, 4):
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tag = InputTag("mlflow.data.context", "training")
        client.log_inputs(run_id, [DatasetInput(Dataset("digits", "d1", "code", "{}", "{}", "{}"), [tag])])
    client.set_terminated(run_id, "FAILED")
    client.delete_run(client.create_run(experiment).info.run_id)
    if VERSION < (2, 0) and uri.startswith("./"):
        return  # without a registry
    client.create_registered_model("old model", {"kind": "x"}, "what it is")
    client.create_model_version("old model", f"{client.get_run(run_id).info.artifact_uri}/sub", run_id, {"v": "1"})
    client.transition_model_version_stage("old model", "1", "Production")
    if VERSION >= (2, 3):
        client.set_registered_model_alias("old model", "champion", "1")


def main() -> None:
    """Two stores: a database, whose files are in mlruns, and the file store in files/mlruns."""
    here = os.getcwd()
    os.mkdir("database")
    os.chdir("database")
    write("sqlite:///mlflow.db")
    with sqlite3.connect("mlflow.db") as connection:
        dump = "\n".join(connection.iterdump())
    os.chdir("..")
    os.mkdir("files")
    os.chdir("files")
    write("./mlruns")
    os.chdir("..")
    files = {
        path.relative_to(here).as_posix(): path.read_text().replace(here, "<DIRECTORY>")
        for path in sorted(Path(here).rglob("*"))
        if path.is_file() and path.suffix != ".db" and (path.name != "report.txt" or "artifacts" in path.parts)
    }
    found = {"version": mlflow.__version__, "dump": dump.replace(here, "<DIRECTORY>"), "files": files}
    place = HERE / f"mlflow-{mlflow.__version__}.json"
    place.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
