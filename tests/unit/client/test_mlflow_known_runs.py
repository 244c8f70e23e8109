from __future__ import annotations

import pytest

from runstream.mlflow.known_runs import KnownRuns, ParamChanged


def test_another_value_of_a_param_is_refused_and_nothing_of_its_call_is_remembered() -> None:
    runs = KnownRuns()
    runs.learn("a", {"lr": "0.1"})
    with pytest.raises(ParamChanged) as refused:
        runs.add_params("a", {"layers": "3", "lr": "0.2"})
    assert refused.value.changes == {"lr": ("0.1", "0.2")}
    runs.add_params("a", {"layers": "4", "lr": "0.1"})
    with pytest.raises(ParamChanged):
        runs.add_params("a", {"layers": "5"})


def test_params_of_an_unknown_run_are_left_to_the_service() -> None:
    runs = KnownRuns()
    runs.add_params("a", {"lr": "0.1"})
    runs.add_params("a", {"lr": "0.2"})


def test_the_run_that_was_read_last_stays_in_the_cache() -> None:
    runs = KnownRuns(max_runs=2)
    for run_id in "abac":
        runs.learn(run_id, {})
    assert [run_id in runs for run_id in "abc"] == [True, False, True]
    runs.forget("a")
    runs.forget("a")
    assert "a" not in runs
