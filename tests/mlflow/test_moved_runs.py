"""A run that is moved to another experiment, as MLflow's own client sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import mlflow
import pandas
import pytest

import runstream
from tests.support.access import execute, make_token
from tests.support.rest import Rest
from tests.support.serve import ServeProcess


@pytest.fixture
def mover(service: ServeProcess) -> Iterator[runstream.Client]:
    """A runstream client of the service that MLflow's client uses."""
    with runstream.Client(service.grpc_address, token=make_token(service, name="mover", role="admin")) as client:
        yield client


def test_artifacts_models_inputs_and_links_are_those_of_before(
    client: mlflow.MlflowClient, mover: runstream.Client, experiment_id: str, name: str
) -> None:
    from sklearn.linear_model import LinearRegression

    mlflow.set_experiment(experiment_id=experiment_id)
    with mlflow.start_run() as run:
        mlflow.log_text("before", "notes/before.txt")
        mlflow.log_metric("loss", 0.5, step=3)
        mlflow.log_input(mlflow.data.from_pandas(pandas.DataFrame({"x": [1.0]}), name="digits"), context="training")
        model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
        logged = mlflow.sklearn.log_model(model, name="line", pip_requirements=[], serialization_format="cloudpickle")
        run_id, uri = run.info.run_id, run.info.artifact_uri
        moved = mover.move_run(run_id, f"{name} archive", create=True)
        # The script has noticed nothing, and goes on.
        mlflow.log_metric("loss", 0.25, step=4)
        mlflow.log_text("after", "notes/after.txt")
    target = str(moved.experiment_id)
    found = client.get_run(run_id)
    assert (found.info.experiment_id, found.info.artifact_uri, found.info.status) == (target, uri, "FINISHED")
    assert [one.dataset.name for one in found.inputs.dataset_inputs] == ["digits"]
    assert [point.value for point in client.get_metric_history(run_id, "loss")] == [0.5, 0.25]
    assert [one.info.run_id for one in client.search_runs([target])] == [run_id]
    assert client.search_runs([experiment_id]) == []
    assert {one.path for one in client.list_artifacts(run_id, "notes")} == {"notes/before.txt", "notes/after.txt"}
    for text in ("before", "after"):
        assert mlflow.artifacts.load_text(f"runs:/{run_id}/notes/{text}.txt") == text
        assert mlflow.artifacts.load_text(f"{uri}/notes/{text}.txt") == text
    assert [one.model_id for one in mlflow.search_logged_models([target], output_format="list")] == [logged.model_id]
    assert mlflow.search_logged_models([experiment_id], output_format="list") == []
    assert mlflow.sklearn.load_model(f"models:/{logged.model_id}").predict([[2.0]])[0] == pytest.approx(2.0)
    version = mlflow.register_model(f"models:/{logged.model_id}", name)
    assert mlflow.sklearn.load_model(f"models:/{name}/{version.version}").predict([[3.0]])[0] == pytest.approx(3.0)
    # The experiment in which it was made goes; nothing of the run does.
    client.delete_experiment(experiment_id)
    assert client.get_run(run_id).info.lifecycle_stage == "active"
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/notes/before.txt") == "before"


def test_files_of_a_run_are_its_teams_alone_wherever_it_is(
    guarded: ServeProcess, tokens: Mapping[str, str], team_a: Rest, team_b: Rest, name: str
) -> None:
    made = team_a.post("/api/2.0/mlflow/experiments/create", {"name": name}).body["experiment_id"]
    run = team_a.post("/api/2.0/mlflow/runs/create", {"experiment_id": made}).body["run"]["info"]
    path = f"/api/2.0/mlflow-artifacts/artifacts/{made}/{run['run_id']}/artifacts/file.txt"

    def send(method: str, token: str, body: bytes | None = None) -> tuple[int, bytes]:
        with Rest(guarded.http_url, token=token) as rest:
            answer = rest.request(method, path, body)
            return answer.status, answer.content

    assert send("PUT", tokens["team-a"], b"content")[0] == 200
    with runstream.Client(guarded.grpc_address, token=tokens["team-a"]) as mover:
        mover.move_run(run["run_id"], f"{name} archive", create=True)
    with runstream.Client(guarded.grpc_address, token=tokens["team-b"]) as other, pytest.raises(runstream.NotFound):
        other.move_run(run["run_id"], f"{name} of b", create=True)
    # Its old experiment is purged but for its row, as the service does it after --purge-after-days.
    execute(guarded, f"UPDATE experiments SET workspace_id = 0, lifecycle = 'deleted' WHERE experiment_id = {made}")
    assert send("GET", tokens["team-a"]) == (200, b"content")
    assert send("GET", tokens["team-b"])[0] == 404
