"""Methods of MLflow's client that the tests of the areas do not call directly."""

from __future__ import annotations

import time
from pathlib import Path

import mlflow
import numpy as np
import pytest


@pytest.fixture
def run_id(client: mlflow.MlflowClient, experiment_id: str) -> str:
    """A new run."""
    return str(client.create_run(experiment_id).info.run_id)


def test_an_experiment_is_renamed_tagged_deleted_and_restored(client: mlflow.MlflowClient, experiment_id: str) -> None:
    client.rename_experiment(experiment_id, f"renamed {experiment_id}")
    client.set_experiment_tag(experiment_id, "team", "vision")
    assert client.get_experiment(experiment_id).tags == {"team": "vision"}
    client.delete_experiment_tag(experiment_id, "team")
    client.delete_experiment(experiment_id)
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
    client.restore_experiment(experiment_id)
    found = client.get_experiment(experiment_id)
    assert (found.name, found.tags, found.lifecycle_stage) == (f"renamed {experiment_id}", {}, "active")


def test_the_name_of_a_deleted_experiment_is_refused_with_the_ways_on(
    client: mlflow.MlflowClient, experiment_id: str
) -> None:
    name = client.get_experiment(experiment_id).name
    client.delete_experiment(experiment_id)
    other = client.create_experiment(f"other {name}")
    for attempt in (lambda: client.create_experiment(name), lambda: client.rename_experiment(other, name)):
        with pytest.raises(
            mlflow.MlflowException, match=rf"restore it .its id is {experiment_id}.*runstream gc"
        ) as raised:
            attempt()
        assert raised.value.error_code == "RESOURCE_ALREADY_EXISTS"
    with pytest.raises(mlflow.MlflowException, match="restore the experiment, or permanently delete the experiment"):
        mlflow.set_experiment(name)
    client.restore_experiment(experiment_id)
    assert mlflow.set_experiment(name).experiment_id == experiment_id


def test_a_job_goes_on_after_its_experiment_was_deleted_and_restored(
    client: mlflow.MlflowClient, experiment_id: str, run_id: str
) -> None:
    client.log_metric(run_id, "loss", 1.0, step=1)
    client.delete_experiment(experiment_id)
    with pytest.raises(mlflow.MlflowException, match="Current state is deleted"):
        client.log_metric(run_id, "loss", 2.0, step=2)
    client.restore_experiment(experiment_id)
    client.log_metric(run_id, "loss", 3.0, step=3)
    client.set_terminated(run_id)
    assert [point.step for point in client.get_metric_history(run_id, "loss")] == [1, 3]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_run_is_deleted_and_restored_and_knows_its_parent(
    client: mlflow.MlflowClient, experiment_id: str, run_id: str
) -> None:
    child = client.create_run(experiment_id, tags={"mlflow.parentRunId": run_id}).info.run_id
    parent = client.get_parent_run(child)
    assert parent is not None
    assert parent.info.run_id == run_id
    client.delete_run(child)
    assert client.get_run(child).info.lifecycle_stage == "deleted"
    client.restore_run(child)
    assert client.get_run(child).info.lifecycle_stage == "active"


def test_files_of_all_kinds_are_logged_and_come_back(client: mlflow.MlflowClient, run_id: str, tmp_path: Path) -> None:
    source = tmp_path / "folder"
    source.mkdir()
    (source / "a.txt").write_text("a")
    (source / "b.bin").write_bytes(bytes(range(256)))
    client.log_artifact(run_id, str(source / "a.txt"))
    client.log_artifacts(run_id, str(source), "folder")
    client.log_dict(run_id, {"x": [1, 2]}, "config.json")
    client.log_table(run_id, {"x": [1, 2]}, "table.json")
    client.log_image(run_id, np.zeros((4, 4, 3), dtype=np.uint8), "black.png")
    with (source / "b.bin").open("rb") as stream:
        client.log_stream(run_id, stream, "streamed.bin")
    names = {item.path for item in client.list_artifacts(run_id)}
    assert names == {"a.txt", "folder", "config.json", "table.json", "black.png", "streamed.bin"}
    fetched = Path(client.download_artifacts(run_id, "folder", str(tmp_path)))
    assert (fetched / "b.bin").read_bytes() == bytes(range(256))


def test_a_figure_is_logged(client: mlflow.MlflowClient, run_id: str) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.subplots().plot([1, 2])
    client.log_figure(run_id, figure, "plots/loss.png")
    assert [item.path for item in client.list_artifacts(run_id, "plots")] == ["plots/loss.png"]


def test_files_of_a_logged_model_are_listed(client: mlflow.MlflowClient, experiment_id: str, tmp_path: Path) -> None:
    model = client.create_logged_model(experiment_id, name="net")
    (tmp_path / "weights.bin").write_bytes(b"w")
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}")
    client.log_model_artifact(model.model_id, str(tmp_path / "weights.bin"))
    client.log_model_artifacts(model.model_id, str(folder))
    listed = client.list_logged_model_artifacts(model.model_id)
    assert {item.path for item in listed} == {"weights.bin", "MLmodel"}


@pytest.mark.filterwarnings("ignore:.*get_model_version_stages:FutureWarning")
def test_stages_are_those_of_mlflow(client: mlflow.MlflowClient) -> None:
    name = f"staged {time.time_ns()}"
    client.create_registered_model(name)
    client.create_model_version(name, "s3://bucket/model")
    assert client.get_model_version_stages(name, "1") == ["None", "Staging", "Production", "Archived"]


def test_what_was_made_is_found(client: mlflow.MlflowClient, experiment_id: str, run_id: str) -> None:
    client.log_table(run_id, {"x": [1, 2]}, "table.json")
    client.log_metric(run_id, "loss", 0.25)
    assert [run.info.run_id for run in client.search_runs([experiment_id], "metrics.loss < 1")] == [run_id]
    assert list(client.load_table(experiment_id, "table.json", [run_id])["x"]) == [1, 2]
    name = client.get_experiment(experiment_id).name
    assert [found.name for found in client.search_experiments(filter_string=f"name = '{name}'")] == [name]
    client.create_registered_model(name)
    assert [found.name for found in client.search_registered_models(f"name = '{name}'")] == [name]
