"""Scripts as people write them after MLflow's own documentation, checked through MLflow's client: over HTTP, with a
token in a workspace; with the plugin; and at the agent's port."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.support import preloaded
from tests.support.stock import SCRIPT_MODULES, mlflow_environment

JOB = Path(__file__).with_name("remote_job.py")

pytestmark = pytest.mark.filterwarnings("ignore")  # of scikit-learn, pandas and what MLflow calls of theirs


# Without a token, the client and the service do the same as with one; other files use it that way.
@pytest.fixture(params=["guarded_uri", "plugin_uri", "port"])
def tracking(request: pytest.FixtureRequest) -> str:
    """Points `mlflow` at our service, in one of the ways."""
    uri: str = request.getfixturevalue(request.param)
    mlflow.set_tracking_uri(uri)
    return uri


@pytest.fixture
def name() -> str:
    """A name that no other test uses, for an experiment or a model."""
    return f"script-{uuid.uuid4().hex}"


@pytest.fixture
def _asynchronous(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    yield
    mlflow.flush_async_logging()


def test_the_quickstart(client: mlflow.MlflowClient, name: str) -> None:
    # Not when tests are collected: each worker of pytest would import scikit-learn and SciPy, which takes a second.
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    features, species = load_iris(return_X_y=True, as_frame=True)
    train_x, test_x, train_y, test_y = train_test_split(features, species, random_state=8)
    params = {"solver": "lbfgs", "max_iter": 500, "random_state": 8}
    model = LogisticRegression(**params).fit(train_x, train_y)

    mlflow.set_experiment(name)
    with mlflow.start_run() as run:
        mlflow.log_params(params)
        mlflow.log_metric("accuracy", model.score(test_x, test_y))
        dataset = mlflow.data.from_pandas(train_x.assign(species=train_y), name="iris", targets="species")
        mlflow.log_input(dataset, context="training")
        logged = mlflow.sklearn.log_model(
            model,
            name="iris_model",
            signature=infer_signature(train_x, model.predict(train_x)),
            input_example=train_x.head(3),
            registered_model_name=name,
            pip_requirements=["scikit-learn"],
        )
        mlflow.set_logged_model_tags(logged.model_id, {"Training Info": "Basic LR model for iris data"})
    client.set_registered_model_alias(name, "champion", "1")

    expected = list(model.predict(test_x))
    for uri in (logged.model_uri, f"models:/{name}/1", f"models:/{name}@champion"):
        assert list(mlflow.pyfunc.load_model(uri).predict(test_x)) == expected
    found = client.get_run(run.info.run_id)
    assert found.data.params == {key: str(value) for key, value in params.items()}
    assert found.data.metrics == {"accuracy": model.score(test_x, test_y)}
    (read,) = found.inputs.dataset_inputs
    assert (read.dataset.name, json.loads(read.dataset.profile)["num_rows"]) == ("iris", len(train_x))
    assert [output.model_id for output in found.outputs.model_outputs] == [logged.model_id]
    listed = mlflow.search_logged_models(experiment_ids=[run.info.experiment_id])
    assert list(listed["model_id"]) == [logged.model_id]
    assert listed["tags"][0]["Training Info"].startswith("Basic LR")
    assert mlflow.models.get_model_info(f"models:/{name}/1").signature == infer_signature(
        train_x, model.predict(train_x)
    )


@pytest.mark.usefixtures("_asynchronous")
def test_a_sweep_of_nested_runs_becomes_a_table(client: mlflow.MlflowClient, name: str) -> None:
    experiment = mlflow.set_experiment(name)
    children = []
    with mlflow.start_run(run_name="sweep") as parent:
        for rate in (0.1, 0.01, 0.001):
            with mlflow.start_run(run_name=f"rate {rate}", nested=True) as child:
                mlflow.log_param("rate", rate)
                for step in range(20):
                    mlflow.log_metrics({"loss": rate + 1 / (step + 1)}, step=step)
                mlflow.log_table({"rate": [rate], "answer": ["yes"]}, "answers.json")
            children.append(child.info.run_id)
        mlflow.log_metric("best", 0.051, synchronous=False)
    mlflow.flush_async_logging()

    of_parent = f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    table = mlflow.search_runs(search_all_experiments=True, filter_string=of_parent, order_by=["metrics.loss"])
    assert list(table["run_id"]) == children[::-1]
    assert list(table["params.rate"]) == ["0.001", "0.01", "0.1"]
    assert list(table["metrics.loss"]) == pytest.approx([0.051, 0.06, 0.15])
    assert set(table["status"]) == {"FINISHED"}
    assert (table["start_time"] <= table["end_time"]).all()
    assert [point.step for point in client.get_metric_history(children[0], "loss")] == list(range(20))
    assert client.get_run(parent.info.run_id).data.metrics == {"best": 0.051}
    answers = mlflow.load_table("answers.json", run_ids=children, extra_columns=["run_id"])
    of_children = zip((0.1, 0.01, 0.001), children, strict=True)
    assert sorted(zip(answers["rate"], answers["run_id"], strict=True)) == sorted(of_children)

    mlflow.delete_run(children[0])
    assert len(mlflow.search_runs([experiment.experiment_id])) == 3
    client.restore_run(children[0])
    mlflow.delete_experiment(experiment.experiment_id)
    with pytest.raises(mlflow.MlflowException, match="deleted experiment"):
        mlflow.set_experiment(name)
    client.restore_experiment(experiment.experiment_id)
    mlflow.set_experiment(name)
    assert len(mlflow.search_runs(output_format="list")) == 4


def test_a_remote_job_logs_to_the_run_that_its_environment_names(
    client: mlflow.MlflowClient, name: str, tmp_path: Path
) -> None:
    import mlflow.sklearn
    from sklearn.datasets import load_iris

    experiment_id = client.create_experiment(name)
    run_id = client.create_run(experiment_id, run_name="given").info.run_id
    settings = {
        "MLFLOW_TRACKING_URI": client.tracking_uri,
        "RUNSTREAM_DIR": os.environ.get("RUNSTREAM_DIR", ""),
        "MLFLOW_EXPERIMENT_NAME": name,
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
        "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.2",
        "MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING": "1",
        # It names what the model needs without a process that loads the model, which takes longer than the job.
        "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "0",
    }
    done = preloaded.run(
        [sys.executable, str(JOB)], mlflow_environment(settings), modules=SCRIPT_MODULES, cwd=tmp_path, timeout_s=280
    )
    assert done.returncode == 0, done.stderr[-3_000:]

    (run,) = client.search_runs([experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (run_id, "given", "FINISHED")
    assert {"C": "0.5", "max_iter": "500"}.items() <= run.data.params.items()
    assert run.data.metrics["training_accuracy_score"] > 0.9
    assert [point.value for point in client.get_metric_history(run_id, "heartbeat")] == [n / 2 for n in range(30)]
    assert client.get_metric_history(run_id, "system/cpu_utilization_percentage")
    assert run.data.tags["estimator_name"] == "LogisticRegression"
    assert "training_confusion_matrix.png" in {file.path for file in client.list_artifacts(run_id)}
    assert [dataset.tags[0].value for dataset in run.inputs.dataset_inputs] == ["train"]
    (model,) = client.search_logged_models([experiment_id])
    assert (model.name, model.status, model.source_run_id) == ("model", "READY", run_id)
    assert {metric.key for metric in model.metrics} >= {"training_f1_score"}
    features, species = load_iris(return_X_y=True, as_frame=True)
    score = mlflow.sklearn.load_model(model.model_uri).score(features, species)
    assert score == run.data.metrics["training_accuracy_score"]
