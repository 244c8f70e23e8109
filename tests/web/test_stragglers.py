"""The slow rank of a real run is found."""

from __future__ import annotations

from tests.web.support import Web


def test_the_slow_rank_is_named_with_its_scores_and_since_when(web: Web) -> None:
    run_id = web.log({"step_time": [(step, 0.1) for step in range(100)]}, rank=0)
    web.log({"step_time": [(step, 0.1 if step < 50 else 0.2) for step in range(100)]}, run_id, rank=1)
    answer = web.get(f"runs/{run_id}/stragglers", key="step_time")
    assert (answer["key"], answer["window_steps"], answer["threshold"]) == ("step_time", 10, 0.75)
    fast, slow = answer["ranks"]
    assert (fast["rank"], fast["relative"], fast["slow_since_step"], fast["slow_since_us"]) == (0, 1.0, None, None)
    assert (slow["rank"], slow["relative"], slow["individual"], slow["slow_since_step"]) == (1, 0.5, 0.5, 50)
    run = web.get(f"runs/{run_id}")["run"]
    assert run["start_time_us"] < slow["slow_since_us"] <= run["last_point_us"]


def test_without_the_metric_there_are_no_ranks_and_without_a_key_there_is_an_error(web: Web) -> None:
    run_id = web.make_run()
    assert web.get(f"runs/{run_id}/stragglers", key="none")["ranks"] == []
    assert web.refusal("GET", f"runs/{run_id}/stragglers") == (400, "INVALID_FIELD", "key")
    assert web.refusal("GET", f"runs/{'0' * 32}/stragglers", {"key": "a"}) == (404, "RUN_NOT_FOUND", "run_id")
