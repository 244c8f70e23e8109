"""Real Optuna."""

from __future__ import annotations

import optuna
import pytest

from runstream.optuna import RunstreamCallback
from tests.frameworks.stored import ended_runs, points_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of experimental parts of Optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)


def runs_of(client, study, count):
    """Its runs by number of the trial, when they have ended."""
    return {int(run.tags["optuna.trial"]): run for run in ended_runs(client, study.study_name, count)}


def test_each_trial_is_a_run_with_what_optuna_has_of_it(serve, client):
    def objective(trial):
        lr = trial.suggest_float("lr", 0.1, 0.9)
        trial.suggest_categorical("kind", ["a", "b"])
        trial.set_user_attr("host", "here")
        for step in range(3):
            trial.report(lr / (step + 1), step)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError("diverged")
        return lr

    study = optuna.create_study(study_name="plain")
    callback = RunstreamCallback(address=serve.grpc_address)
    study.optimize(objective, n_trials=4, callbacks=[callback], catch=(ValueError,))
    runs = runs_of(client, study, 4)
    assert [runs[number].status for number in range(4)] == ["FINISHED", "FINISHED", "FAILED", "FINISHED"]
    for trial in study.trials:
        run = runs[trial.number]
        assert run.name == f"plain {trial.number}"
        assert run.params == {key: str(value) for key, value in trial.params.items()}
        assert run.tags["optuna.state"] == trial.state.name
        assert (run.tags["optuna.study"], run.tags["host"]) == ("plain", "here")
        points = points_of(client, run.run_id)
        assert points.pop("intermediate_value") == sorted(trial.intermediate_values.items())
        # Optuna takes the last report for the value of a trial that was pruned.
        assert points == ({} if trial.number == 2 else {"value": [(2, trial.value)]})


def test_an_objective_logs_to_the_run_of_its_trial_in_parallel_too(serve, client):
    callback = RunstreamCallback("tracked", metric_name="loss", tags={"team": "vision"}, address=serve.grpc_address)

    @callback.track
    def objective(trial, run):
        for step in range(5):
            run.log({"number": trial.number}, step)
        if trial.number == 3:
            raise ValueError("diverged")
        return trial.suggest_float("lr", 0.1, 0.9)

    study = optuna.create_study(study_name="tracked")
    study.optimize(objective, n_trials=6, n_jobs=3, callbacks=[callback], catch=(ValueError,))
    runs = runs_of(client, study, 6)
    for trial in study.trials:
        run = runs[trial.number]
        assert run.status == ("FAILED" if trial.number == 3 else "FINISHED")
        assert run.tags["team"] == "vision"
        points = points_of(client, run.run_id)
        assert points["number"] == [(step, float(trial.number)) for step in range(5)]
        assert points.get("loss") == (None if trial.number == 3 else [(0, trial.value)])


def test_an_exception_that_ends_the_study_ends_the_run_of_its_trial(serve, client):
    callback = RunstreamCallback(address=serve.grpc_address)

    def objective(trial, run):
        trial.suggest_float("lr", 0.1, 0.9)
        run.log({"loss": 1.0}, 0)
        raise KeyboardInterrupt

    study = optuna.create_study(study_name="interrupted")
    with pytest.raises(KeyboardInterrupt):
        study.optimize(callback.track(objective), n_trials=2, callbacks=[callback])
    (run,) = runs_of(client, study, 1).values()
    assert (run.status, run.tags["optuna.state"]) == ("KILLED", "FAIL")
    assert run.params.keys() == {"lr"}


def test_several_values_have_their_names(serve, client):
    study = optuna.create_study(study_name="two", directions=["minimize", "maximize"])
    study.optimize(lambda trial: (0.5, 2.0), n_trials=1, callbacks=[RunstreamCallback(address=serve.grpc_address)])
    study.set_metric_names(["loss", "accuracy"])
    study.optimize(lambda trial: (0.25, 4.0), n_trials=1, callbacks=[RunstreamCallback(address=serve.grpc_address)])
    runs = runs_of(client, study, 2)
    assert points_of(client, runs[0].run_id) == {"value_0": [(0, 0.5)], "value_1": [(0, 2.0)]}
    assert points_of(client, runs[1].run_id) == {"loss": [(0, 0.25)], "accuracy": [(0, 4.0)]}


def test_a_trial_has_its_own_run():
    for wrong in ({"run_id": "1" * 32}, {"name": "n"}, {"rank": 1}):
        with pytest.raises(TypeError, match="each trial has its own"):
            RunstreamCallback(**wrong)
    with pytest.raises(TypeError, match="metric_name"):
        RunstreamCallback(metric_name=1)  # type: ignore[arg-type]
