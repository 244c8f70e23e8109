"""Real Ray Tune and Ray Train, on a cluster of one node."""

from __future__ import annotations

import pickle

import pytest
from ray import train, tune
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from runstream.ray import RunstreamLoggerCallback, start_run
from tests.frameworks.ray_trials import falling, work
from tests.frameworks.stored import ended_runs, points_of

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]  # Ray's own warnings


def test_each_trial_is_a_run_and_one_that_is_restarted_is_its_next_attempt(serve, client, ray_cluster, tmp_path):
    callback = RunstreamLoggerCallback("ray tune", tags={"team": "vision"}, address=serve.grpc_address)
    space = {"lr": 0.5, "model": {"layers": 2}, "fails": tune.grid_search([False, True])}
    options = {"storage_path": str(tmp_path), "verbose": 0, "failure_config": tune.FailureConfig(max_failures=1)}
    tuner = tune.Tuner(falling, param_space=space, run_config=tune.RunConfig(callbacks=[callback], **options))
    results = {str(result.config["fails"]): result for result in tuner.fit()}

    runs = {run.params["fails"]: run for run in ended_runs(client, "ray tune", 2)}
    assert {fails: run.status for fails, run in runs.items()} == {"False": "FINISHED", "True": "FAILED"}
    for fails, run in runs.items():
        assert (run.params["lr"], run.params["model/layers"], run.tags["team"]) == ("0.5", "2", "vision")
        assert results[fails].path.rpartition("/")[2].startswith(run.name)
        assert results[fails].metrics["trial_id"] == run.tags["ray.trial_id"]
    frame = results["False"].metrics_dataframe
    points = points_of(client, runs["False"].run_id)
    assert points["loss"] == list(zip(frame["training_iteration"], frame["loss"], strict=True))
    assert points["val/loss"] == list(zip(frame["training_iteration"], frame["val/loss"], strict=True))
    assert not points.keys() & {"note", "pid", "timestamp", "config/lr", "done"}
    steps = {one.attempt: list(one.steps) for one in client.history(runs["True"].run_id, "loss").series}
    assert steps == {0: [1, 2], 1: [3]}


def test_a_tuner_that_is_restored_knows_the_runs_of_its_trials():
    before, after = RunstreamLoggerCallback("e"), RunstreamLoggerCallback("e")
    before._known["a"] = ("1" * 32, 2)
    after.set_state(before.get_state())
    assert after._known == {"a": ("1" * 32, 2)}
    assert pickle.loads(pickle.dumps(before))._known == after._known


def test_a_trial_has_its_own_run():
    for wrong in ({"run_id": "1" * 32}, {"attempt": 1}, {"colour": "red"}):
        with pytest.raises(TypeError):
            RunstreamLoggerCallback(**wrong)


@pytest.fixture
def fit(serve, ray_cluster, tmp_path):
    """Trains with two workers, of which rank 1 fails in the attempts `fails`."""

    def fit(fails, max_failures=0):
        DataParallelTrainer(
            work,
            train_loop_config={"lr": 0.1, "address": serve.grpc_address, "fails": fails},
            scaling_config=train.ScalingConfig(num_workers=2),
            run_config=train.RunConfig(
                name="line", storage_path=str(tmp_path), failure_config=train.FailureConfig(max_failures=max_failures)
            ),
        ).fit()

    return fit


def starts_of(client, run):
    """(rank, attempt) -> steps."""
    return {(one.rank, one.attempt): list(one.steps) for one in client.history(run.run_id, "loss").series}


def test_the_workers_of_ray_train_share_a_run_which_goes_on_after_a_failure_and_from_a_checkpoint(fit, client):
    with pytest.raises(train.TrainingFailedError):
        fit(fails=[0])
    (lost,) = ended_runs(client, "ray train", 1)
    assert (lost.name, lost.status, lost.params) == ("line", "FAILED", {"lr": "0.1"})
    assert starts_of(client, lost)[1, 0] == [0]

    fit(fails=[0], max_failures=1)  # without a checkpoint, so another run
    (run,) = (one for one in ended_runs(client, "ray train", 2) if one.run_id != lost.run_id)
    assert run.status == "FINISHED"
    starts = starts_of(client, run)
    assert starts[1, 0] == [0]
    assert starts[0, 1] == starts[1, 1] == [0, 1]

    fit(fails=[])  # of the same name, from the checkpoint
    assert {one.status for one in ended_runs(client, "ray train", 2)} == {"FAILED", "FINISHED"}
    assert starts_of(client, run)[0, 2] == starts_of(client, run)[1, 2] == [0, 1]


def test_a_worker_of_ray_train_has_its_own_rank_and_nobody_else_has_one():
    for wrong in ({"rank": 1}, {"colour": "red"}, {"run_id": "1"}):
        with pytest.raises((TypeError, ValueError)):
            start_run("e", **wrong)
    with pytest.raises(RuntimeError, match="training function"):
        start_run("e")
