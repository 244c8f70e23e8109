"""The tracking store of the plugin, with a sink that does the agent's work when it is flushed."""

from __future__ import annotations

import math
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.credentials import get_default_host_creds

from runstream._points_journal import Point
from runstream.mlflow.tracking_store import RunstreamStore
from tests.support import preloaded
from tests.support.stock import mlflow_environment, script_modules


class HeldSink:
    """Holds everything until flush, which sends it over HTTP, or does not while the service is `away`."""

    def __init__(self, http_url: str) -> None:
        self.away = False
        self.closed: list[str] = []
        self.held: dict[str, list[tuple[list[Any], list[Any], list[Any]]]] = defaultdict(list)
        self._http = RestStore(partial(get_default_host_creds, http_url))

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        metrics = [Metric(key, value, time_us // 1_000, step) for key, value, step, time_us in points]
        self.held[run_id].append((metrics, [], []))

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        self.held[run_id].append(([], [Param(*item) for item in params.items()], []))

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.held[run_id].append(([], [], [RunTag(*item) for item in tags.items()]))

    def pending(self) -> Sequence[str]:
        return [run_id for run_id, held in self.held.items() if held]

    def flush(self, run_id: str, timeout_s: float) -> bool:
        if self.away:
            return not self.held[run_id]
        for metrics, params, tags in self.held.pop(run_id, []):
            self._http.log_batch(run_id, metrics, params, tags)
        return True

    def close(self, run_id: str) -> None:
        self.closed.append(run_id)


@pytest.fixture
def sink(server: str) -> HeldSink:
    return HeldSink(server)


@pytest.fixture
def store(server: str, sink: HeldSink) -> RunstreamStore:
    return RunstreamStore(partial(get_default_host_creds, server), sink)


@pytest.fixture
def client(store: RunstreamStore, monkeypatch: pytest.MonkeyPatch, server: str) -> Iterator[mlflow.MlflowClient]:
    """`mlflow` with that store."""
    from mlflow.tracking._tracking_service import utils

    registry = utils._tracking_store_registry
    registry._get_store_with_resolved_uri.cache_clear()
    monkeypatch.setitem(registry._registry, "http", lambda **_: store)
    mlflow.set_tracking_uri(server)
    yield mlflow.MlflowClient(server)
    registry._get_store_with_resolved_uri.cache_clear()


@pytest.fixture
def run_id(client: mlflow.MlflowClient) -> str:
    experiment = client.create_experiment(f"plugin-{uuid.uuid4().hex}")
    return str(client.create_run(experiment).info.run_id)


def test_reads_wait_for_what_was_logged_before(client: mlflow.MlflowClient, sink: HeldSink, run_id: str) -> None:
    assert client.log_metric(run_id, "loss", 0.5, step=3) is None
    assert client.log_param(run_id, "lr", 0.1) == 0.1
    assert client.set_tag(run_id, "team", "vision") is None
    assert sink.held[run_id]
    data = client.get_run(run_id).data
    assert (data.metrics, data.params, data.tags["team"]) == ({"loss": 0.5}, {"lr": "0.1"}, "vision")

    client.log_metric(run_id, "loss", math.nan, step=4)
    history = client.get_metric_history(run_id, "loss")
    assert [metric.step for metric in history] == [3, 4]

    client.log_metric(run_id, "best", 1.0)
    experiment = client.get_run(run_id).info.experiment_id
    client.log_metric(run_id, "best", 2.0, step=1)
    (found,) = client.search_runs([experiment], "metrics.best > 1.5")
    assert found.info.run_id == run_id


def test_a_deleted_tag_is_one_that_was_set_before(client: mlflow.MlflowClient, run_id: str) -> None:
    client.set_tag(run_id, "stage", "draft")
    client.delete_tag(run_id, "stage")
    assert "stage" not in client.get_run(run_id).data.tags


def test_the_end_of_a_run_closes_it_and_it_may_be_written_again(
    client: mlflow.MlflowClient, sink: HeldSink, run_id: str
) -> None:
    client.log_metric(run_id, "loss", 1.0)
    client.set_terminated(run_id)
    assert sink.closed == [run_id]
    client.log_metric(run_id, "late", 2.0)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.0, "late": 2.0})


@pytest.mark.parametrize(
    ("log", "what"),
    [
        (lambda client, run_id: client.log_metric(run_id, "bad key!", 1.0), "bad key!"),
        (lambda client, run_id: client.log_metric(run_id, "k" * 251, 1.0), "250"),
        (lambda client, run_id: client.log_metric(run_id, "loss", "much"), "much"),
        (lambda client, run_id: client.log_metric(run_id, "loss", 1.0, timestamp=-1), "timestamp"),
        (lambda client, run_id: client.log_metric(run_id, "loss", 1.0, timestamp=1.5), "timestamp"),
        (lambda client, run_id: client.log_metric(run_id, "loss", 1.0, step=2**63), "step"),
        (lambda client, run_id: client.log_metric(run_id, "loss", 1.0, step=0.5), "step"),
        (lambda client, run_id: client.log_param(run_id, "p", "a\0b"), "NUL"),
        (lambda client, run_id: client.log_param(run_id, "../p", 1), r"\.\./p"),
        (lambda client, run_id: client.set_tag(run_id, "t", "\ud800"), "surrogate"),
        (lambda client, run_id: client.log_batch(run_id, params=[Param("p", "1"), Param("p", "2")]), "Duplicate"),
    ],
)
def test_wrong_values_are_refused_where_they_are_logged(
    client: mlflow.MlflowClient, sink: HeldSink, run_id: str, log: Any, what: str
) -> None:
    with pytest.raises(MlflowException, match=what) as refused:
        log(client, run_id)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert not sink.pending()


def test_another_value_of_a_param_is_refused_as_by_the_server(
    client: mlflow.MlflowClient, sink: HeldSink, run_id: str
) -> None:
    client.log_param(run_id, "lr", 0.1)
    client.log_param(run_id, "lr", 0.1)
    message = "Param with key='lr' was already logged with value='0.1' for run ID="
    with pytest.raises(MlflowException, match=message):
        client.log_param(run_id, "lr", 0.2)
    with pytest.raises(MlflowException, match=r"already logged='\[\{'key': 'lr', 'old_value': '0.1'"):
        client.log_batch(run_id, metrics=[Metric("loss", 1.0, 1, 0)], params=[Param("lr", "0.2")])
    data = client.get_run(run_id).data
    assert (data.params, data.metrics) == ({"lr": "0.1"}, {})


def test_params_of_a_resumed_run_are_known(
    store: RunstreamStore, client: mlflow.MlflowClient, server: str, run_id: str
) -> None:
    client.log_param(run_id, "lr", 0.1)
    client.get_run(run_id)
    fresh = RunstreamStore(partial(get_default_host_creds, server), HeldSink(server))
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        fresh.log_param(run_id, Param("lr", "0.2"))


def test_runs_that_cannot_be_written_are_refused_at_once(
    client: mlflow.MlflowClient, sink: HeldSink, run_id: str
) -> None:
    with pytest.raises(MlflowException, match="not found") as refused:
        client.log_metric("f" * 32, "loss", 1.0)
    assert refused.value.error_code == "RESOURCE_DOES_NOT_EXIST"

    client.delete_run(run_id)
    with pytest.raises(MlflowException, match="Current state is deleted"):
        client.log_metric(run_id, "loss", 1.0)
    assert not sink.pending()

    client.restore_run(run_id)
    client.log_metric(run_id, "loss", 1.0)
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}


def test_metrics_of_a_model_are_the_models_and_the_runs(
    client: mlflow.MlflowClient, sink: HeldSink, run_id: str
) -> None:
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, "m", run_id)
    client.log_metric(run_id, "accuracy", 0.5, step=1, model_id=model.model_id)
    client.log_batch(
        run_id, metrics=[Metric("f1", 0.25, 1, 0, model_id=model.model_id), Metric("loss", 1.0, 1, 0)], params=[]
    )
    assert [point.key for held in sink.held.values() for batch in held for point in batch[0]] == ["loss"]
    metrics = {metric.key: metric.value for metric in client.get_logged_model(model.model_id).metrics}
    assert metrics == {"accuracy": 0.5, "f1": 0.25}
    assert client.get_run(run_id).data.metrics == {"accuracy": 0.5, "f1": 0.25, "loss": 1.0}


def test_asynchronous_logging_is_waited_for_by_its_operation(
    client: mlflow.MlflowClient, sink: HeldSink, run_id: str
) -> None:
    operation = client.log_metric(run_id, "loss", 1.0, synchronous=False)
    assert sink.held[run_id]
    operation.wait()
    assert not sink.held[run_id]
    client.log_param(run_id, "lr", 1, synchronous=False).wait()
    refused = client.log_param(run_id, "lr", 2, synchronous=False)
    with pytest.raises(MlflowException, match="Changing param values"):
        refused.wait()
    client.set_tag(run_id, "team", "vision", synchronous=False)
    mlflow.flush_async_logging()
    assert not sink.pending()


def test_writes_never_fail_while_the_service_is_away_and_reads_do(
    client: mlflow.MlflowClient, sink: HeldSink, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.away = True
    client.log_batch(
        run_id, metrics=[Metric("loss", 1.0, 1, 0)], params=[Param("lr", "1")], tags=[RunTag("team", "vision")]
    )
    with pytest.raises(MlflowException, match="did not reach the service") as refused:
        client.get_run(run_id)
    assert refused.value.error_code == "TEMPORARILY_UNAVAILABLE"
    sink.away = False
    assert client.get_run(run_id).data.metrics == {"loss": 1.0}


def test_a_run_that_nobody_can_be_asked_for_takes_writes(sink: HeldSink) -> None:
    unreachable = RunstreamStore(partial(get_default_host_creds, "http://127.0.0.1:9"), sink)
    unreachable.log_metric("a" * 32, Metric("loss", 1.0, 1, 0))
    assert sink.pending() == ["a" * 32]


_IMPORTS = """
import sys, mlflow
from mlflow.tracking._tracking_service import utils
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("runstream", "grpc"))
print(loaded, utils._tracking_store_registry._registry["http"] is utils._get_rest_store)
"""


@pytest.mark.parametrize(("variable", "expected"), [("", "[] True"), ("1", "[] False")])
def test_importing_mlflow_imports_nothing_of_ours_and_leaves_http_alone(variable: str, expected: str) -> None:
    environment = mlflow_environment({"RUNSTREAM_MLFLOW_HTTP": variable})
    done = preloaded.run([sys.executable, "-c", _IMPORTS], environment, modules=script_modules(environment))
    assert done.stdout.strip() == expected, done.stderr
