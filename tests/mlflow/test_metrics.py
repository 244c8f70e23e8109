"""Metrics over MLflow's routes: written by its client and with REST, and read back."""

from __future__ import annotations

import base64
import itertools
import math
import threading
import time
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric

import runstream
from runstream_service.database.pool import Database
from tests.support.rest import Rest
from tests.support.rolling import roll_up
from tests.support.serve import ServeProcess

TIME = 1_700_000_000_000


@pytest.fixture
def run_id(ours: Rest, experiment_id: str) -> str:
    return str(ours.post("runs/create", {"experiment_id": experiment_id}).body["run"]["info"]["run_id"])


def history(rest: Rest, run_id: str, key: str = "loss", **query: Any) -> list[tuple[int, int, Any]]:
    """(timestamp, step, value) of each row."""
    answer = rest.get("metrics/get-history", {"run_id": run_id, "metric_key": key, **query})
    assert answer.status == 200, answer
    return [(row["timestamp"], row["step"], row["value"]) for row in answer.body.get("metrics", [])]


def metric(step: int = 0, value: Any = 1.0, timestamp: int = TIME, key: str = "loss", **more: Any) -> dict[str, Any]:
    return {"key": key, "value": value, "timestamp": timestamp, "step": step, **more}


# -- the real client -------------------------------------------------------------------------------------------------


def test_what_the_client_logs_it_reads_back(client: mlflow.MlflowClient, run_id: str) -> None:
    client.log_metric(run_id, "loss", 0.5, timestamp=TIME, step=1)
    client.log_metric(run_id, "loss", math.nan, timestamp=TIME + 1, step=2)
    client.log_metric(run_id, "loss", math.inf, timestamp=TIME + 2, step=-(2**63))
    client.log_batch(run_id, [Metric("loss", -math.inf, TIME + 3, 2**63 - 1), Metric("acc", 1, TIME, 0)])
    found = client.get_metric_history(run_id, "loss")
    assert [(m.timestamp - TIME, m.step) for m in found] == [(0, 1), (1, 2), (2, -(2**63)), (3, 2**63 - 1)]
    assert found[0].value == 0.5
    assert math.isnan(found[1].value)
    assert [found[2].value, found[3].value] == [1.7976931348623157e308, -1.7976931348623157e308]
    assert [m.value for m in client.get_metric_history(run_id, "acc")] == [1.0]


def test_the_fluent_interface_logs_also_asynchronously(tracking: str, ours: Rest, experiment_id: str) -> None:
    with mlflow.start_run(experiment_id=experiment_id) as run:
        for step in range(20):
            mlflow.log_metrics({"loss": step * 0.5, "acc": 1.0}, step=step, synchronous=False)
        mlflow.flush_async_logging()
    for key in ("loss", "acc"):
        assert sorted(step for _, step, _ in history(ours, run.info.run_id, key)) == list(range(20))


def test_more_metrics_than_a_batch_takes_are_split_by_the_client(client: mlflow.MlflowClient, run_id: str) -> None:
    client.log_batch(run_id, [Metric("loss", step * 0.1, TIME + step, step) for step in range(2_500)])
    assert [m.step for m in client.get_metric_history(run_id, "loss")] == list(range(2_500))


def test_points_by_grpc_are_seen_over_http_and_the_other_way_round(
    service: ServeProcess, client: mlflow.MlflowClient, run_id: str
) -> None:
    with runstream.start_run(run_id=run_id, address=service.grpc_address) as run:
        run.log({"streamed": 0.25}, step=7)
        assert run.flush()
    client.log_metric(run_id, "posted", 0.75, timestamp=TIME, step=3)
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "streamed")] == [(7, 0.25)]
    with runstream.Client(service.grpc_address) as reader:
        assert [(point.step, point.value) for point in reader.history(run_id, "posted", rank=-1)] == [(3, 0.75)]


# -- repeats ---------------------------------------------------------------------------------------------------------


def test_a_body_that_comes_again_stores_nothing(service: ServeProcess, ours: Rest, run_id: str) -> None:
    body = {"run_id": run_id, "metrics": [metric(step) for step in range(10)]}
    for _ in range(3):
        assert ours.post("runs/log-batch", body).body == {}
    with runstream.Client(service.grpc_address) as reader:
        assert len(reader.history(run_id, "loss", rank=-1)) == 10


def test_points_that_are_repeated_in_another_body_are_one_row(ours: Rest, run_id: str) -> None:
    ours.post("runs/log-metric", {"run_id": run_id, **metric(1)})
    ours.post("runs/log-batch", {"run_id": run_id, "metrics": [metric(1), metric(2), metric(2)]})
    ours.post("runs/log-batch", {"run_id": run_id, "metrics": [metric(3, "NaN"), metric(3, "NaN"), metric(3, 0.0)]})
    ours.post(
        "runs/log-batch", {"run_id": run_id, "metrics": [metric(3, "NaN"), metric(3, -0.0), metric(3, "Infinity")]}
    )
    assert history(ours, run_id) == [
        (TIME, 1, 1.0), (TIME, 2, 1.0), (TIME, 3, 0.0), (TIME, 3, "NaN"), (TIME, 3, 1.7976931348623157e308),
    ]  # fmt: skip


def test_a_key_whose_series_were_deleted_starts_again(service: ServeProcess, ours: Rest, run_id: str) -> None:
    ours.post("runs/log-metric", {"run_id": run_id, **metric(1)})
    with runstream.Client(service.grpc_address) as client:
        assert client.delete_series(run_id, "loss") == 1
    assert history(ours, run_id) == []
    assert ours.post("runs/log-metric", {"run_id": run_id, **metric(2)}).status == 200
    assert history(ours, run_id) == [(TIME, 2, 1.0)]


def test_many_callers_write_into_one_run_at_once(server: str, ours: Rest, run_id: str) -> None:
    answers: list[int] = []

    def write(caller: int) -> None:
        rest = Rest(server)
        for batch in range(10):
            points = [metric(caller * 1_000 + batch * 100 + step, key=f"k{step % 5}") for step in range(100)]
            answers.append(rest.post("runs/log-batch", {"run_id": run_id, "metrics": points}).status)
        rest.close()

    threads = [threading.Thread(target=write, args=(caller,)) for caller in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 200
    steps = sorted(step for key in range(5) for _, step, _ in history(ours, run_id, f"k{key}"))
    assert steps == list(range(20_000))


def test_deleting_a_run_and_its_series_while_it_is_written_to_harms_nobody(
    service: ServeProcess, server: str, ours: Rest, run_id: str
) -> None:
    over = threading.Event()
    seen: set[tuple[int, str]] = set()

    def write(caller: int) -> None:
        rest = Rest(server)
        for step in itertools.count():
            answer = rest.post("runs/log-metric", {"run_id": run_id, **metric(step, key=f"k{caller}")})
            seen.add((answer.status, "" if answer.status == 200 else answer.body["message"]))
            if over.is_set():
                break
        rest.close()

    threads = [threading.Thread(target=write, args=(caller,)) for caller in range(4)]
    for thread in threads:
        thread.start()
    with runstream.Client(service.grpc_address) as client:
        for _ in range(10):
            client.delete_series(run_id, [f"k{caller}" for caller in range(4)])
            ours.post("runs/delete", {"run_id": run_id})
            time.sleep(0.01)
            ours.post("runs/restore", {"run_id": run_id})
    over.set()
    for thread in threads:
        thread.join()
    deleted = f"The run {run_id} must be in the 'active' state. Current state is deleted."
    assert seen == {(200, ""), (400, deleted)}


# -- what is refused -------------------------------------------------------------------------------------------------

SEE = " See the API docs for more information about request parameters."
MISSING = "Missing value for required parameter"
BAD_KEY = "Invalid value \"a*\" for parameter 'metrics[1].name' supplied:"
NAMES = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
    "slashes (/)."
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": ""}, "Missing value for required parameter 'run_id'." + SEE),
        ({"key": None}, "Missing value for required parameter 'key'." + SEE),
        ({"key": ""}, "Missing value for required parameter 'key'." + SEE),
        ({"value": None}, "Missing value for required parameter 'value'." + SEE),
        ({"timestamp": None}, "Missing value for required parameter 'timestamp'." + SEE),
        ({"value": True}, "Invalid value true for parameter 'value' supplied:  Hint: Value was of type 'bool'." + SEE),
        ({"value": "x"}, "Invalid value \"x\" for parameter 'value' supplied:  Hint: Value was of type 'str'." + SEE),
        ({"value": []}, "Invalid value [] for parameter 'value' supplied:  Hint: Value was of type 'list'." + SEE),
        (
            {"timestamp": 1.5},
            "Invalid value 1.5 for parameter 'timestamp' supplied:  Hint: Value was of type 'float'." + SEE,
        ),
        (
            {"step": 2**63},
            f"Invalid value {2**63} for parameter 'step' supplied:  Hint: Value was of type 'int'." + SEE,
        ),
        (
            {"timestamp": -1},
            "Invalid value -1 for parameter 'timestamp' supplied: metric 'loss' (value=1.0). Timestamp must be a "
            "nonnegative long (64-bit integer) ",
        ),
        ({"key": "a\0b"}, f"Invalid value \"a\\u0000b\" for parameter 'name' supplied: {NAMES}"),
        ({"key": "k" * 251}, "'Metric name' exceeds the maximum length of 250 characters"),
        (
            {"key": "a/../b"},
            "Invalid value \"a/../b\" for parameter 'name' supplied: Names may be treated as files in certain cases, "
            "and must not resolve to other names when treated as such. This name would resolve to 'b'",
        ),
    ],
)
def test_a_metric_in_the_wrong_form_is_refused_by_name(
    ours: Rest, run_id: str, change: dict[str, Any], message: str
) -> None:
    answer = ours.post("runs/log-metric", {"run_id": run_id, **metric(), **change})
    assert answer.error == (400, "INVALID_PARAMETER_VALUE", message)
    assert history(ours, run_id) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"metrics": [metric(), metric(key="a*")]}, f"{BAD_KEY} {NAMES}"),
        ({"metrics": [metric(), {"key": "a", "value": 1}]}, f"{MISSING} 'metrics[1].timestamp'.{SEE}"),
        ({"metrics": {}}, "Invalid value {} for parameter 'metrics' supplied:  Hint: Value was of type 'dict'." + SEE),
        (
            {"metrics": [metric(step) for step in range(1_001)]},
            "A batch logging request can contain at most 1000 metrics. Got 1001 metrics. Please split up metrics "
            "across multiple requests and try again.",
        ),
        (
            {"metrics": [metric(step) for step in range(999)], "tags": [{"key": "a"}, {"key": "b"}]},
            "A batch logging request can contain at most 1000 metrics, params, and tags. Got 1001 metrics, params, and "
            "tags. Please split up metrics, params, and tags across multiple requests and try again.",
        ),
        (
            {"metrics": [metric()], "params": [{"key": "a", "value": "1"}, {"key": "a", "value": "1"}]},
            "Duplicate parameter keys have been submitted: ['a']. Please ensure the request contains only one param "
            "value per param key.",
        ),
        ({"metrics": [metric()], "params": [{"key": ""}]}, f"{MISSING} 'params[0].key'.{SEE}"),
    ],
)  # fmt: skip
def test_a_batch_in_the_wrong_form_is_refused_whole(
    ours: Rest, run_id: str, body: dict[str, Any], message: str
) -> None:
    answer = ours.post("runs/log-batch", {"run_id": run_id, **body})
    assert answer.error == (400, "INVALID_PARAMETER_VALUE", message)
    assert history(ours, run_id) == []


def test_a_literal_nan_is_no_json(ours: Rest, run_id: str) -> None:
    body = b'{"run_id":"%s","key":"loss","value":NaN,"timestamp":1}' % run_id.encode()
    status, code, message = ours.post("runs/log-metric", body).error
    assert (status, code) == (400, "BAD_REQUEST")
    assert '"NaN"' in message


def test_numbers_may_come_as_text_and_names_in_camel_case(ours: Rest, run_id: str) -> None:
    body = {"run_uuid": run_id, "key": "loss", "value": "0.5", "timestamp": str(TIME), "step": 3.0, "extra": []}
    assert ours.post("runs/log-metric", body).status == 200
    assert history(ours, run_id) == [(TIME, 3, 0.5)]


def test_a_changed_param_keeps_metrics_and_tags_out(ours: Rest, run_id: str) -> None:
    ours.post("runs/log-batch", {"run_id": run_id, "params": [{"key": "p", "value": "1"}]})
    body = {"run_id": run_id, "metrics": [metric()], "params": [{"key": "p", "value": "2"}]}
    _, code, message = ours.post("runs/log-batch", body).error
    assert code == "INVALID_PARAMETER_VALUE"
    assert message == (
        "Changing param values is not allowed. Params were already logged='[{'key': 'p', 'old_value': '1', "
        f"'new_value': '2'}}]' for run ID='{run_id}'."
    )
    assert history(ours, run_id) == []


@pytest.mark.parametrize("path", ["log-metric", "log-batch"])
def test_a_run_that_is_not_there_or_deleted_takes_nothing(ours: Rest, run_id: str, path: str) -> None:
    content = metric() if path == "log-metric" else {}
    nobody = "f" * 32
    expected = (404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={nobody} not found")
    assert ours.post(f"runs/{path}", {"run_id": nobody, **content}).error == expected
    ours.post("runs/delete", {"run_id": run_id})
    message = f"The run {run_id} must be in the 'active' state. Current state is deleted."
    assert ours.post(f"runs/{path}", {"run_id": run_id, **content}).error == (400, "INVALID_PARAMETER_VALUE", message)


def test_a_metric_of_a_model_that_is_not_there_is_not_stored(ours: Rest, run_id: str) -> None:
    answer = ours.post("runs/log-metric", {"run_id": run_id, **metric(model_id="m-nobody")})
    assert answer.error == (404, "RESOURCE_DOES_NOT_EXIST", "Logged model with ID 'm-nobody' not found.")
    assert history(ours, run_id) == []


# -- histories -------------------------------------------------------------------------------------------------------


def test_a_history_is_ordered_by_time_and_comes_in_pages(ours: Rest, run_id: str) -> None:
    points = [metric(step, float(-step), TIME + step % 3) for step in range(7)]
    ours.post("runs/log-batch", {"run_id": run_id, "metrics": points})
    everything = history(ours, run_id)
    assert everything == sorted((p["timestamp"], p["step"], p["value"]) for p in points)
    pages, token = [], ""
    while True:
        query = {"run_id": run_id, "metric_key": "loss", "max_results": 3, "page_token": token}
        body = ours.get("metrics/get-history", query).body
        pages.append([(row["timestamp"], row["step"], row["value"]) for row in body["metrics"]])
        if not (token := body.get("next_page_token", "")):
            break
    assert pages == [everything[:3], everything[3:6], everything[6:]]


@pytest.mark.parametrize(
    "query", [{"max_results": 0}, {"page_token": "garbage"}, {"metric_key": "a\0"}, {"max_results": "x"}]
)
def test_a_wrong_question_about_a_history_is_the_callers_fault(ours: Rest, run_id: str, query: dict[str, Any]) -> None:
    answer = ours.get("metrics/get-history", {"run_id": run_id, "metric_key": "loss", **query})
    assert answer.error[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_what_is_not_there_has_an_empty_history(ours: Rest, run_id: str) -> None:
    for run in (run_id, "f" * 32, "nonsense"):
        assert ours.get("metrics/get-history", {"run_id": run, "metric_key": "nothing"}).body == {}


def test_histories_of_many_runs_come_run_by_run(ours: Rest, experiment_id: str) -> None:
    runs = [ours.post("runs/create", {"experiment_id": experiment_id}).body["run"]["info"]["run_id"] for _ in range(12)]
    for run in runs:
        ours.post(
            "runs/log-batch", {"run_id": run, "metrics": [metric(step, "NaN" if step else 1.0) for step in range(3)]}
        )
    path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    rows = ours.get(path, {"run_id": [*runs, "f" * 32], "metric_key": "loss", "max_results": 35}).body["metrics"]
    assert [(row["run_id"], row["step"]) for row in rows] == [(run, step) for run in sorted(runs) for step in range(3)][
        :35
    ]
    assert rows[1] == {"key": "loss", "value": "NaN", "timestamp": TIME, "step": 1, "run_id": min(runs)}
    assert ours.get(path, {"run_id": runs[0], "metric_key": "nothing"}).body == {"metrics": []}
    assert ours.get(path, {"metric_key": "loss"}).error[2] == (
        "GetMetricHistoryBulk request must specify at least one run_id."
    )
    assert ours.get(path, {"run_id": ["a"] * 101, "metric_key": "loss"}).status == 400
    assert ours.get(path, {"run_id": "a"}).status == 400


@pytest.mark.parametrize("count", [1, 2, 3, 7, 99, 100, 101, 2_500])
def test_samples_are_the_first_rows_of_equal_buckets_and_the_last_row(ours: Rest, run_id: str, count: int) -> None:
    ours.post(
        "runs/log-batch", {"run_id": run_id, "metrics": [metric(step, float(step), TIME + step) for step in range(100)]}
    )
    query = {"run_ids": [run_id, "f" * 32], "metric_key": "loss", "max_results": count}
    rows = ours.get("metrics/get-history-bulk-interval", query).body["metrics"]
    sizes = [100 // count + (bucket < 100 % count) for bucket in range(count)]
    expected = [sum(sizes[:bucket]) for bucket in range(count) if sizes[bucket]]
    assert [row["step"] for row in rows] == [*expected[:-1], 99]
    assert rows[-1] == {"key": "loss", "value": 99.0, "timestamp": TIME + 99, "step": 99, "run_id": run_id}


def test_samples_may_be_of_a_part_of_the_steps(ours: Rest, run_id: str) -> None:
    ours.post("runs/log-batch", {"run_id": run_id, "metrics": [metric(step) for step in range(100)]})
    query = {"run_ids": run_id, "metric_key": "loss", "max_results": 3, "start_step": 10, "end_step": 19}
    rows = ours.get("metrics/get-history-bulk-interval", query).body["metrics"]
    assert [row["step"] for row in rows] == [10, 14, 19]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"run_ids": []}, "Missing value for required parameter 'run_ids'." + SEE),
        ({"metric_key": ""}, "Missing value for required parameter 'metric_key'." + SEE),
        ({"max_results": 0}, "max_results must be between 1 and 2500." + SEE),
        ({"max_results": 2_501}, "max_results must be between 1 and 2500." + SEE),
        ({"start_step": 1}, "If either start step or end step are specified, both must be specified."),
        (
            {"start_step": 2, "end_step": 1},
            "end_step must be greater than start_step. Found start_step=2 and end_step=1.",
        ),
        (
            {"run_ids": ["a"] * 101},
            "GetMetricHistoryBulkInterval request must specify at most 100 run_ids. Received 101 run_ids." + SEE,
        ),
    ],
)
def test_a_wrong_query_for_samples_is_refused_with_a_message(ours: Rest, query: dict[str, Any], message: str) -> None:
    answer = ours.get("metrics/get-history-bulk-interval", {"run_ids": "a", "metric_key": "loss", **query})
    assert answer.error == (400, "INVALID_PARAMETER_VALUE", message)


def test_of_several_ranks_the_lowest_is_shown_with_all_its_attempts(
    service: ServeProcess, ours: Rest, run_id: str
) -> None:
    for rank, attempt, value in ((1, 0, 1.0), (1, 1, 2.0), (2, 0, 3.0)):
        with runstream.start_run(run_id=run_id, address=service.grpc_address, rank=rank, attempt=attempt) as run:
            for step in range(3):
                run.log({"loss": value}, step=step)
            assert run.flush()
    assert sorted((step, value) for _, step, value in history(ours, run_id)) == [
        (step, value) for step in range(3) for value in (1.0, 2.0)
    ]
    query = {"run_ids": run_id, "metric_key": "loss", "max_results": 10}
    rows = ours.get("metrics/get-history-bulk-interval", query).body["metrics"]
    assert sorted((row["step"], row["value"]) for row in rows) == [
        (step, value) for step in range(3) for value in (1.0, 2.0)
    ]


async def test_histories_are_the_same_after_their_points_were_rolled_up(
    service: ServeProcess, ours: Rest, run_id: str
) -> None:
    values = ["NaN" if step % 100 == 7 else step * 0.1 for step in range(1_000)]
    for start in (0, 1_000, 2_000):
        points = [metric(start + step, value, TIME + 20 * (start + step)) for step, value in enumerate(values)]
        assert ours.post("runs/log-batch", {"run_id": run_id, "metrics": points}).status == 200

    def answers() -> list[Any]:
        query = {"run_ids": run_id, "metric_key": "loss", "max_results": 40}
        page = {"run_id": run_id, "metric_key": "loss", "max_results": 700}
        first = ours.get("metrics/get-history", page).body
        return [
            history(ours, run_id),
            first,
            ours.get("metrics/get-history", {**page, "page_token": first["next_page_token"]}).body,
            ours.get("metrics/get-history-bulk-interval", query).body,
            ours.get("metrics/get-history-bulk-interval", {**query, "start_step": 950, "end_step": 2_100}).body,
        ]

    hot = answers()
    assert len(hot[0]) == 3_000
    database = await Database.open(service.database_url)
    try:
        await roll_up(database)
    finally:
        await database.close()
    assert answers() == hot


def test_a_metric_of_a_model_is_shown_with_the_model(ours: Rest, experiment_id: str, run_id: str) -> None:
    created = ours.post("logged-models", {"experiment_id": experiment_id, "name": "m", "source_run_id": run_id})
    model_id = created.body["model"]["info"]["model_id"]
    body = {"run_id": run_id, "metrics": [metric(1, 0.5, model_id=model_id), metric(2, 0.25, key="other")]}
    for _ in range(2):
        assert ours.post("runs/log-batch", body).status == 200
    (shown,) = ours.get(f"logged-models/{model_id}").body["model"]["data"]["metrics"]
    assert {name: shown[name] for name in ("key", "value", "step", "timestamp", "model_id", "run_id")} == {
        "key": "loss", "value": 0.5, "step": 1, "timestamp": TIME, "model_id": model_id, "run_id": run_id,
    }  # fmt: skip
    assert history(ours, run_id) == [(TIME, 1, 0.5)]


@pytest.mark.parametrize("token", [b"[]", b'{"offset": 3}', b'{"timestamp_ms": 1e300}', b"\xff"])
def test_a_page_token_of_somebody_else_is_refused(ours: Rest, run_id: str, token: bytes) -> None:
    query = {"run_id": run_id, "metric_key": "loss", "page_token": base64.b64encode(token).decode()}
    assert ours.get("metrics/get-history", query).error[:2] == (400, "INVALID_PARAMETER_VALUE")
