"""Limits of workspaces on a running service, with the real client and the commands of an operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import runstream
from tests.support.access import AUTH, as_operator, make_token, make_workspace
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

SETTING = ("--workspace-points-per-second", "2000", "--metrics-by-workspace", "on")


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory / "data", arguments=[*AUTH, *SETTING]) as running:
        make_workspace(running, "team-a")
        make_workspace(running, "team-b")
        yield running


def test_a_client_above_the_points_per_second_of_its_workspace_waits_and_loses_nothing(serve: ServeProcess) -> None:
    token = make_token(serve, name="trainer", workspace="team-a")
    run = runstream.start_run("fast", address=serve.grpc_address, token=token)
    for step in range(5_000):  # 20,000 points: a burst, and five seconds more
        run.log({"a": step, "b": step, "c": step, "d": step}, step=step)
    run.finish(timeout=100)
    stats = run.stats()
    assert (stats.acknowledged, sum(stats.refused.values())) == (20_000, 0)
    assert serve.metric("runstream_limit_wait_seconds_total", limit="points_per_second", workspace="team-a") > 0


def test_limits_are_shown_and_changed_without_a_restart_and_refusals_name_them(serve: ServeProcess) -> None:
    shown = as_operator(serve, "workspace", "limits", "team-b", "--points-per-second", "1", "--streams", "none")
    assert shown.split() == [
        *("points_per_second", "1"), *("streams", "none"), *("concurrent_reads", "default"),
        *("series_per_run", "default"), *("file_bytes", "default"),
    ]  # fmt: skip
    rest = Rest(serve.http_url, token=make_token(serve, name="mlflow", workspace="team-b"))
    run_id = rest.post("runs/create", {"experiment_id": _experiment(rest)}).body["run"]["info"]["run_id"]

    def refused() -> bool:
        metric = {"run_id": run_id, "key": "loss", "value": 1.0, "timestamp": 1_700_000_000_000}
        answer = rest.post("runs/log-metric", metric)
        return answer.status == 429 and answer.headers["retry-after"].isdigit() and _names_the_limit(answer.error[2])

    until_now(refused)
    assert "points_per_second  default" in as_operator(
        serve, "workspace", "limits", "team-b", "--points-per-second", "default"
    )
    until_now(lambda: not refused())
    rest.close()


def _names_the_limit(message: str) -> bool:
    return (
        "workspace 'team-b' has reached its limit of 1 points per second (runstream workspace limits team-b)" in message
    )


def _experiment(rest: Rest) -> str:
    experiment: str = rest.post("experiments/create", {"name": "limited"}).body["experiment_id"]
    return experiment


def test_a_limit_that_is_no_number_is_refused(serve: ServeProcess) -> None:
    with pytest.raises(RuntimeError, match="'many' is not a whole number above 0, none or default"):
        as_operator(serve, "workspace", "limits", "team-a", "--streams", "many")
    with pytest.raises(RuntimeError, match="no workspace 'team-z'"):
        as_operator(serve, "workspace", "limits", "team-z")
