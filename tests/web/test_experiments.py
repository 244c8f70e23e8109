"""The list of experiments in the page's API."""

from __future__ import annotations

import uuid

from tests.web.support import Web


def test_experiments_come_with_the_number_of_their_runs_the_one_that_moved_last_first(web: Web) -> None:
    older, newer = web.make_experiment(), web.make_experiment()
    before = web.get("experiments")["experiments"]
    assert before[0]["name"] == "Default"
    assert [one["experiment_id"] for one in before[1:3]] == [newer, older]
    deleted = web.make_run(older)
    web.make_run(older)
    web.rest.post("/api/2.0/mlflow/runs/delete", {"run_id": deleted})
    web.log({"loss": [(0, 1.0)]}, experiment=(name := uuid.uuid4().hex))
    found = {one["name"]: one for one in web.get("experiments")["experiments"]}
    assert (found[name]["run_count"], found[name]["lifecycle"], found[name]["retention_days"]) == (1, "active", None)
    assert [one["run_count"] for one in found.values() if one["experiment_id"] == older] == [1]
    assert found[name]["last_update_us"] > max(one["last_update_us"] for one in before)
