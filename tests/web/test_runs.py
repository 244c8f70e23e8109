"""The table of runs, a single run, and completion of keys, in the page's API."""

from __future__ import annotations

import math
import time
import uuid
from typing import Any

import pytest

import runstream
from tests.web.support import Web


def test_the_table_has_params_tags_and_the_metrics_that_it_asks_for(web: Web) -> None:
    experiment = uuid.uuid4().hex
    begun = time.time()
    found = web.log(
        {"loss": [(0, 2.0), (1, math.nan)], "acc": [(5, 0.5)]},
        experiment=experiment,
        name="first",
        params={"lr": 0.1},
        tags={"team": "a"},
    )
    (run,) = web.post("runs/search", filter=f"run_id = '{found}'", metrics=["loss"])["runs"]
    assert (run["run_id"], run["name"], run["experiment"], run["status"]) == (found, "first", experiment, "finished")
    assert (run["params"], run["tags"]["team"], run["lifecycle"]) == ({"lr": "0.1"}, "a", "active")
    loss = run["metrics"].pop("loss")
    assert (loss["latest"], loss["step"], run["metrics"]) == ("NaN", 1, {})
    assert (loss["min"], loss["min_step"], loss["max"], loss["max_step"]) == (2.0, 0, 2.0, 0)
    assert begun < run["start_time_us"] / 1e6 <= loss["time_us"] / 1e6 == run["last_point_us"] / 1e6
    assert run["end_time_us"] >= run["start_time_us"]
    assert set(web.post("runs/search", filter=f"run_id = '{found}'")["runs"][0]["metrics"]) == {"acc", "loss"}


def test_pages_go_on_where_the_one_before_ended_over_all_experiments_or_some(web: Web) -> None:
    experiments = [web.make_experiment(), web.make_experiment()]
    made = [web.make_run(experiment, start_time=1_000 + at) for at, experiment in enumerate(experiments * 2)]
    first = web.post("runs/search", experiment_ids=experiments, page_size=3)
    rest = web.post("runs/search", experiment_ids=experiments, page_size=3, page_token=first["next_page_token"])
    assert [run["run_id"] for run in first["runs"] + rest["runs"]] == made[::-1]
    assert rest["next_page_token"] == ""
    one = web.post("runs/search", experiment_ids=experiments[:1], order_by=["start_time ASC"])["runs"]
    assert [run["run_id"] for run in one] == [made[0], made[2]]
    in_all = {run["run_id"] for run in web.post("runs/search", page_size=1_000)["runs"]}
    assert in_all.issuperset(made)


def test_runs_are_found_with_or_and_ordered_by_their_best_values(web: Web) -> None:
    experiment = uuid.uuid4().hex
    early = web.log({"loss": [(0, 0.1), (1, 3.0)]}, experiment=experiment, tags={"team": "a"})
    late = web.log({"loss": [(0, 4.0), (1, 0.5)]}, experiment=experiment, tags={"team": "b"})
    web.log({"loss": [(0, 0.01)]}, experiment=experiment, tags={"team": "c"})
    either = "tags.team = 'a' OR tags.team = 'b'"
    for order, expected in (("min(metrics.loss) ASC", [early, late]), ("metrics.loss ASC", [late, early])):
        found = web.post("runs/search", filter=either, order_by=[order], experiment_ids=[experiment_of(web, early)])
        assert [run["run_id"] for run in found["runs"]] == expected
    best = found["runs"][1]["metrics"]["loss"]
    assert (best["min"], best["min_step"], best["max"], best["max_step"]) == (0.1, 0, 3.0, 1)


def experiment_of(web: Web, run_id: str) -> str:
    return str(web.get(f"runs/{run_id}")["run"]["experiment_id"])


def test_deleted_runs_are_shown_to_those_who_ask_for_them(web: Web) -> None:
    experiment = web.make_experiment()
    kept, deleted = web.make_run(experiment), web.make_run(experiment)
    web.rest.post("/api/2.0/mlflow/runs/delete", {"run_id": deleted})

    def shown(lifecycle: str) -> set[str]:
        answer = web.post("runs/search", experiment_ids=[experiment], lifecycle=lifecycle)
        return {run["run_id"] for run in answer["runs"]}

    assert [shown(one) for one in ("active", "deleted", "all")] == [{kept}, {deleted}, {kept, deleted}]


def test_one_run_comes_with_its_series_its_ranks_and_where_its_attempts_began(web: Web) -> None:
    found = web.log({"loss": [(step, 1.0) for step in range(5)]}, rank=0)
    web.log({"loss": [(0, 1.0)], "late": [(2, -math.inf)]}, found, rank=3)
    web.log({"loss": [(3, 2.0), (4, 1.0)]}, found, rank=0, attempt=1)
    answer = web.get(f"runs/{found}")
    series = [(one["key"], one["rank"], one["attempt"], one["latest"], one["step"]) for one in answer["series"]]
    assert series == [
        ("late", 3, 0, "-Infinity", 2),
        ("loss", 0, 0, 1.0, 4),
        ("loss", 0, 1, 1.0, 4),
        ("loss", 3, 0, 1.0, 0),
    ]
    assert (answer["ranks"], answer["series_count"]) == ([0, 3], 4)
    assert [(one["attempt"], one["first_step"]) for one in answer["attempts"]] == [(0, 0), (1, 3)]
    first, second = (one["first_time_us"] for one in answer["attempts"])
    assert answer["run"]["start_time_us"] <= first < second
    assert answer["points_per_s"] is None
    assert "metrics" not in answer["run"]


def test_a_run_that_goes_on_says_how_fast(web: Web) -> None:
    run = runstream.start_run(address=web.service.grpc_address)
    for step in range(60):
        run.log({"loss": 1.0}, step=step)
    assert run.flush(30)
    assert web.get(f"runs/{run.run_id}")["points_per_s"] == 2.0
    (shown,) = web.post("runs/search", filter=f"run_id = '{run.run_id}'", metrics=[])["runs"]
    assert shown["last_point_us"] is not None
    run.finish()


def test_keys_to_complete_are_those_of_most_runs_first(web: Web) -> None:
    experiment = uuid.uuid4().hex
    for number in range(2):
        found = web.log({"often": [(0, 1.0)]}, experiment=experiment, params={"lr": 1, f"p{number}": 1}, tags={"t": 1})
    web.log({"a": [(0, 1.0)]}, found)
    experiment_id = web.get(f"runs/{found}")["run"]["experiment_id"]
    keys = web.get("keys", experiment_id=experiment_id)
    assert keys["metrics"] == ["often", "a"]
    assert keys["params"] == ["lr", "p0", "p1"]
    assert "t" in keys["tags"]
    assert set(web.get("keys")["metrics"]) >= {"often", "a"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"experiment_ids": ["x"]}, "experiment_ids"),
        ({"experiment_ids": [1]}, "experiment_ids"),
        ({"filter": "metrics."}, "filter"),
        ({"filter": 1}, "filter"),
        ({"order_by": ["nothing"]}, "order_by"),
        ({"lifecycle": "gone"}, "lifecycle"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 1_001}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"metrics": ["a\0"]}, "metrics"),
    ],
)
def test_a_wrong_field_of_a_search_is_named(web: Web, wrong: Any, field: str) -> None:
    web.make_run()
    assert web.refusal("POST", "runs/search", wrong) == (400, "INVALID_FIELD", field)


def test_an_error_of_a_filter_says_where_it_is(web: Web) -> None:
    error = web.rest.post("runs/search", {"filter": "params.a = '1' AND nonsense"}).body["error"]
    assert (error["code"], error["field"]) == ("INVALID_FIELD", "filter")
    assert error["position"] > 0


def test_what_is_not_there_is_not_found(web: Web) -> None:
    assert web.refusal("GET", f"runs/{'0' * 32}") == (404, "RUN_NOT_FOUND", "run_id")
    assert web.refusal("GET", "runs/x") == (400, "INVALID_FIELD", "run_id")
    assert web.refusal("GET", "keys", {"experiment_id": "x"}) == (400, "INVALID_FIELD", "experiment_id")
    assert web.get("keys", experiment_id="9999999") == {"metrics": [], "params": [], "tags": []}


def test_several_runs_come_at_once_with_those_that_are_missing(web: Web) -> None:
    one, other = web.log({"loss": [(0, 1.0)]}), web.log({"acc": [(3, 0.5)]})
    gone = uuid.uuid4().hex
    answer = web.post("runs/overviews", run_ids=[other, gone, one])
    assert [found["run"]["run_id"] for found in answer["overviews"]] == [other, one]
    assert answer["overviews"][0] == web.get(f"runs/{other}")
    assert answer["missing"] == [gone]
    assert web.refusal("POST", "runs/overviews", {"run_ids": ["x"]})[::2] == (400, "run_ids")


def test_a_page_with_the_newest_state_of_the_table_is_told_so_and_sees_changes(web: Web) -> None:
    experiment = web.make_experiment()
    run_id = web.make_run(experiment, run_name="before")
    question = {"experiment_ids": [experiment], "max_age_s": 0}
    first = web.post("runs/search", **question)
    assert web.post("runs/search", **question, known_state=first["state"]) == {
        "state": first["state"],
        "is_known": True,
    }
    web.post(f"runs/{run_id}/edit", name="after")
    second = web.post("runs/search", **question, known_state=first["state"])
    assert [run["name"] for run in second["runs"]] == ["after"]
    assert second["state"] != first["state"]
    assert web.post("runs/search", **{**question, "max_age_s": 30})["state"] == second["state"]
    assert web.refusal("POST", "runs/search", {"max_age_s": 61})[::2] == (400, "max_age_s")
