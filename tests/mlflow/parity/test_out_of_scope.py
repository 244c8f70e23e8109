"""What this service does not keep: the UI finds none of it, as on a new stock server; clients get an error."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rest import Rest

AJAX = "/ajax-api/3.0/mlflow/"
METRICS = {
    "view_type": "TRACES",
    "metric_name": "trace_count",
    "aggregations": [{"aggregation_type": "COUNT"}],
    "time_interval_seconds": 86_400,
    "start_time_ms": 0,
    "end_time_ms": 1_000_000_000,
}
OF_EXPERIMENT = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", AJAX + "traces/search", {"locations": [OF_EXPERIMENT], "max_results": 5}),
        ("POST", AJAX + "traces/metrics", {"experiment_ids": ["0"], **METRICS}),
        ("POST", AJAX + "datasets/search", {"experiment_ids": ["0"]}),
        ("GET", AJAX + "scorers/list?experiment_id=0", None),
        ("GET", "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api/2.0/endpoints/", None),
    ],
)
def test_the_ui_finds_none_as_on_a_stock_server(
    ours: Rest, theirs: Rest, method: str, path: str, body: dict[str, Any] | None
) -> None:
    mine, stock = (
        rest.request("GET", path) if method == "GET" else rest.send(method, path, body) for rest in (ours, theirs)
    )
    assert (mine.status, mine.body) == (stock.status, stock.body)


@pytest.mark.parametrize("path", ["/api/3.0/mlflow/traces/search", "/api/3.0/mlflow/datasets/search"])
def test_a_client_is_told_that_it_is_not_there(ours: Rest, path: str) -> None:
    assert ours.post(path, {}).error == (404, "ENDPOINT_NOT_FOUND", f"runstream has no endpoint POST {path}.")
