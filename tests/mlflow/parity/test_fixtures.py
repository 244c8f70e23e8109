"""The fixtures of this package work: both servers answer, and tests do not share settings."""

from __future__ import annotations

import os

import mlflow

from tests.support.rest import Rest


def test_the_client_makes_an_experiment_on_our_service(client: mlflow.MlflowClient) -> None:
    experiment_id = client.create_experiment("made by the client", tags={"a": "1"})
    assert client.get_experiment(experiment_id).tags == {"a": "1"}


def test_a_test_sees_no_tracking_uri_of_the_one_before() -> None:
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.active_run() is None


def test_the_stock_server_and_ours_answer_the_same(ours: Rest, theirs: Rest) -> None:
    for rest in (ours, theirs):
        assert rest.get("experiments/get", {"experiment_id": "0"}).body["experiment"]["name"] == "Default"
