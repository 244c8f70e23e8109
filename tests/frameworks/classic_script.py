"""What a script of years ago does; runs in environments of its own, with one or the other MLflow: URI, then extras."""

import os
import sys
import tempfile

import mlflow

uri, extras = sys.argv[1], sys.argv[2:]
mlflow.set_tracking_uri(uri)
mlflow.set_experiment(f"classic {os.getpid()} {mlflow.__version__}")
with mlflow.start_run(run_name="first") as run:
    mlflow.log_param("lr", 0.1)
    mlflow.log_params({"layers": 3, "name": "net"})
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metrics({"acc": 0.5, "f1": float("nan")}, step=4)
    mlflow.set_tag("team", "vision")
    mlflow.log_text("hello", "notes/hello.txt")
    mlflow.log_dict({"a": [1, 2]}, "config.json")
    with mlflow.start_run(nested=True):
        mlflow.log_metric("loss", 2.0)

client = mlflow.tracking.MlflowClient()
found = client.get_run(run.info.run_id)
assert found.info.status == "FINISHED"
assert found.data.params == {"lr": "0.1", "layers": "3", "name": "net"}
assert found.data.metrics["loss"] == 0.2
assert found.data.tags["team"] == "vision"
assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")] == [
    (step, 1 / (step + 1)) for step in range(5)
]
with tempfile.TemporaryDirectory() as folder:
    path = client.download_artifacts(run.info.run_id, "notes", folder)
    with open(os.path.join(path, "hello.txt")) as file:
        assert file.read() == "hello"
hits = client.search_runs(
    [run.info.experiment_id], "metrics.loss < 0.5 and params.lr = '0.1'", order_by=["metrics.acc"]
)
assert [hit.info.run_id for hit in hits] == [run.info.run_id]

with mlflow.start_run(experiment_id="0") as run:  # where a script logs that sets no experiment
    mlflow.log_metric("loss", 1.5)
    mlflow.log_text("by default", "default.txt")
assert run.info.run_id in [hit.info.run_id for hit in client.search_runs(["0"])]
assert client.get_experiment("0").experiment_id == run.info.experiment_id
assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["default.txt"]

if "sklearn" in extras:
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), "model")
    loaded = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
    assert list(loaded.predict([[0.0], [1.0]])) == [0, 1]
print("done with", mlflow.__version__)
