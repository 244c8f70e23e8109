"""A script that knows of no experiment, no token and no workspace: all it has of the service is in its environment.

python workspace_script.py, with MLFLOW_TRACKING_URI and how to sign in; it prints what it made.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import mlflow
import mlflow.sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def main() -> None:
    """Logs with the fluent API, the client and autolog, and reads all of it."""
    features, species = load_iris(return_X_y=True, as_frame=True)
    mlflow.sklearn.autolog(log_models=False)
    with mlflow.start_run() as run:
        model = LogisticRegression(max_iter=200).fit(features, species)
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_param("chosen", "here")
        mlflow.log_text("the report", "reports/report.txt")
        mlflow.log_dict({"a": [1, 2]}, "config.json")
        logged = mlflow.sklearn.log_model(
            model, name="iris", registered_model_name="iris", pip_requirements=["scikit-learn"]
        )
    run_id = run.info.run_id

    client = mlflow.MlflowClient()
    client.log_metric(run_id, "loss", 0.25, step=2)
    client.set_tag(run_id, "reviewed", "yes")
    assert [point.value for point in client.get_metric_history(run_id, "loss")] == [0.5, 0.25]
    assert {file.path for file in client.list_artifacts(run_id)} >= {"config.json", "reports", "estimator.html"}
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/reports/report.txt") == "the report"
    with tempfile.TemporaryDirectory() as directory:
        fetched = mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=directory)
        assert (Path(fetched) / "reports" / "report.txt").read_text() == "the report"
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/config.json") == {"a": [1, 2]}

    assert run_id in list(mlflow.search_runs().run_id)
    assert run_id in [found.info.run_id for found in client.search_runs(["0"], "params.chosen = 'here'")]
    assert logged.model_id in [found.model_id for found in mlflow.search_logged_models(output_format="list")]
    assert [found.name for found in client.search_registered_models()] == ["iris"]
    client.set_registered_model_alias("iris", "champion", "1")
    for uri in (logged.model_uri, "models:/iris/1", "models:/iris@champion"):
        assert len(mlflow.pyfunc.load_model(uri).predict(features)) == len(features)
    mlflow.set_experiment_tag("team", "ours")

    default = mlflow.get_experiment("0")
    assert default.experiment_id == run.info.experiment_id
    assert default.tags["team"] == "ours"
    assert mlflow.set_experiment(experiment_id="0").experiment_id == default.experiment_id
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metric("loss", 0.125, step=3)
    made = {"run_id": run_id, "experiment_id": default.experiment_id, "workspace": default.workspace}
    print(json.dumps({**made, "model_id": logged.model_id, "name": default.name}))


if __name__ == "__main__":
    main()
