"""Runs are one and the same over gRPC and over MLflow's routes."""

from __future__ import annotations

import gzip
import json
import math
import uuid
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest

import runstream
from tests.mlflow.test_runs import new_run, params_of, tags_of
from tests.support.rest import Rest
from tests.support.serve import ServeProcess


@pytest.fixture
def streams(service: ServeProcess) -> Iterator[runstream.Client]:
    with runstream.Client(service.grpc_address) as client:
        yield client


def metrics_of(rest: Rest, run_id: str) -> list[dict[str, Any]]:
    data = rest.get("runs/get", {"run_id": run_id}).body["run"]["data"]
    return list(data.get("metrics", []))


def test_run_created_over_grpc_is_mlflows_too(service: ServeProcess, client: mlflow.MlflowClient, ours: Rest) -> None:
    name = f"streamed {uuid.uuid4().hex}"
    said: dict[str, Any] = {"params": {"lr": 0.1}, "tags": {"team": "x"}, "address": service.grpc_address}
    with runstream.start_run(name, "first", **said) as run:
        run.log({"loss": 0.5}, step=3, time_unix_us=1_700_000_000_123_456)
    found = client.get_run(run.run_id)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    assert (found.info.experiment_id, found.info.status) == (experiment.experiment_id, "FINISHED")
    assert found.data.params == {"lr": "0.1"}
    assert {"team": "x", "mlflow.runName": "first"}.items() <= found.data.tags.items()
    assert metrics_of(ours, run.run_id) == [{"key": "loss", "value": 0.5, "timestamp": 1_700_000_000_123, "step": 3}]
    client.set_tag(run.run_id, "mlflow.runName", "renamed")
    client.log_param(run.run_id, "late", 1)
    with runstream.Client(service.grpc_address) as streams:
        seen = streams.get_run(run.run_id)
    assert (seen.name, seen.params) == ("renamed", {"lr": "0.1", "late": "1"})
    assert "mlflow.runName" not in seen.tags


def test_run_created_over_http_is_the_streams_too(service: ServeProcess, ours: Rest, streams: runstream.Client) -> None:
    run_id = new_run(ours, run_name="by http", start_time=1_000, user_id="ada", tags=[{"key": "t", "value": "1"}])
    ours.post("runs/update", {"run_id": run_id, "status": "KILLED", "end_time": 2_000})
    seen = streams.get_run(run_id)
    assert (seen.name, seen.status, seen.user, seen.tags["t"]) == ("by http", "KILLED", "ada", "1")
    ours.post("runs/delete", {"run_id": run_id})
    streams.restore_run(run_id)
    assert ours.get("runs/get", {"run_id": run_id}).body["run"]["info"]["lifecycle_stage"] == "active"
    # A job that is started with the id of the run joins it.
    with runstream.start_run("Default", run_id=run_id, params={"p": 1}, address=service.grpc_address) as run:
        run.set_tags({"mlflow.runName": "by stream", "u": "2"})
        assert run.flush(120)
    assert params_of(ours, run_id) == {"p": "1"}
    assert {"mlflow.runName": "by stream", "u": "2"}.items() <= tags_of(ours, run_id).items()


def test_lowest_rank_and_newest_attempt_stand_for_a_key(service: ServeProcess, ours: Rest) -> None:
    run_id = uuid.uuid4().hex
    said: dict[str, Any] = {"run_id": run_id, "address": service.grpc_address}
    for rank, attempt, last_step in ((1, 0, 9), (0, 0, 8), (0, 1, 5), (2, 0, 7)):
        with runstream.start_run(f"ranks {run_id}", rank=rank, attempt=attempt, **said) as run:
            run.log({"loss": rank * 10 + attempt}, step=last_step)
            if rank:
                run.log({"late": rank}, step=1)
    found = {metric["key"]: (metric["value"], metric["step"]) for metric in metrics_of(ours, run_id)}
    assert found == {"late": (1, 1), "loss": (1, 5)}


def test_values_that_are_no_numbers_come_as_mlflow_shows_them(service: ServeProcess, ours: Rest) -> None:
    with runstream.start_run(f"values {uuid.uuid4().hex}", address=service.grpc_address) as run:
        run.log({"nan": math.nan, "up": math.inf, "down": -math.inf, "zero": -0.0}, step=0)
    found = {metric["key"]: metric["value"] for metric in metrics_of(ours, run.run_id)}
    assert found == {"nan": "NaN", "up": 1.7976931348623157e308, "down": -1.7976931348623157e308, "zero": 0}


def test_big_answer_is_packed_for_those_who_take_that(service: ServeProcess, ours: Rest) -> None:
    with runstream.start_run(f"wide {uuid.uuid4().hex}", address=service.grpc_address) as run:
        run.log({f"metric {number:04}": number for number in range(1_500)}, step=0)
    path = f"runs/get?run_id={run.run_id}"
    plain = ours.request("GET", path)
    packed = ours.request("GET", path, headers={"Accept-Encoding": "gzip, deflate"})
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.content) < len(plain.content) / 5
    assert json.loads(gzip.decompress(packed.content)) == plain.body
    assert [metric["value"] for metric in plain.body["run"]["data"]["metrics"]] == list(range(1_500))
