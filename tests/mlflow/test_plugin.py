"""The plugin for MLflow's client with a real service, agent and journals: outages, forks, deaths."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

import runstream
from runstream.mlflow.address import Address
from tests.mlflow import logging_child
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.preloaded import Preloaded
from tests.support.serve import ServeProcess
from tests.support.stock import mlflow_environment, script_modules


@pytest.fixture
def client(plugin_uri: str) -> mlflow.MlflowClient:
    mlflow.set_tracking_uri(plugin_uri)
    return mlflow.MlflowClient()


@pytest.fixture
def run_id(client: mlflow.MlflowClient) -> str:
    experiment = client.create_experiment(f"plugin-{uuid.uuid4().hex}")
    return str(client.create_run(experiment).info.run_id)


def steps(address: str, run_id: str) -> list[int]:
    with runstream.Client(address) as reader:
        return list(reader.history(run_id, "loss", rank=-1).steps.tolist())


def script(text: str, *arguments: str, directory: Path, **environment: str) -> subprocess.Popen[str]:
    """Runs a script in a process of its own."""
    return Preloaded(
        [sys.executable, "-c", text, *arguments],
        mlflow_environment({"RUNSTREAM_DIR": str(directory), **environment}),
        modules=script_modules(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def other_service() -> Iterator[ServeProcess]:
    """A service that a test may stop."""
    with short_directory() as path, ServeProcess(path) as serve:
        yield serve


def test_logging_goes_on_while_the_service_is_away(other_service: ServeProcess) -> None:
    serve = other_service
    mlflow.set_tracking_uri(f"runstream://{serve.grpc_address}?http={serve.http_url}")
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.0, step=0)
        serve.kill()
        began_s = time.monotonic()
        for step in range(1, 200):
            mlflow.log_metric("loss", 0.0, step=step)
        mlflow.log_param("lr", 0.1)
        mlflow.set_tag("team", "vision")
        # A single call over HTTP would take minutes here.
        assert time.monotonic() - began_s < 20
        serve.start()
    data = mlflow.get_run(run.info.run_id).data
    assert (data.params, data.tags["team"]) == ({"lr": "0.1"}, "vision")
    assert steps(serve.grpc_address, run.info.run_id) == list(range(200))
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"


def test_points_of_the_plugin_and_over_http_are_one_series(
    client: mlflow.MlflowClient, service: ServeProcess, run_id: str
) -> None:
    client.log_metric(run_id, "loss", 1.0, step=0)
    mlflow.MlflowClient(service.http_url).log_metric(run_id, "loss", 2.0, step=1)
    client.log_metric(run_id, "loss", 3.0, step=2)
    assert [metric.value for metric in client.get_metric_history(run_id, "loss")] == [1.0, 2.0, 3.0]
    assert client.get_run(run_id).data.metrics == {"loss": 3.0}


def test_a_metric_that_is_logged_twice_at_once_is_stored_once(client: mlflow.MlflowClient, run_id: str) -> None:
    for _ in range(3):
        client.log_metric(run_id, "loss", 1.0, timestamp=1_000, step=0)
    assert len(client.get_metric_history(run_id, "loss")) == 1


def test_many_runs_at_a_time(client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from runstream.mlflow import journal_sink

    monkeypatch.setattr(journal_sink, "_MAX_OPEN", 3)
    experiment = client.create_experiment(f"plugin-{uuid.uuid4().hex}")
    run_ids = [client.create_run(experiment).info.run_id for _ in range(8)]
    for step in range(3):
        for run_id in run_ids:
            client.log_metric(run_id, "loss", 0.0, step=step)
    for run_id in run_ids:
        until_now(lambda run_id=run_id: len(client.get_metric_history(run_id, "loss")) == 3)  # type: ignore[misc]


def test_the_run_that_was_written_to_least_recently_is_closed_first(
    service: ServeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runstream.mlflow import journal_sink

    monkeypatch.setattr(journal_sink, "_MAX_OPEN", 3)
    sink = journal_sink.JournalSink(Address(service.grpc_address, service.http_url))
    busy, *others = (uuid.uuid4().hex for _ in range(6))
    handle = sink.handle(busy)
    for run_id in others:
        sink.handle(run_id)
        assert sink.handle(busy) is handle, "the busy run was closed"
    assert list(sink._handles) == [*others[-2:], busy]
    for run_id in list(sink._handles):
        sink.close(run_id)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_process_logs_to_the_same_run(
    client: mlflow.MlflowClient, service: ServeProcess, run_id: str, method: str
) -> None:
    client.log_metric(run_id, "loss", 0.0, step=0)
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=logging_child.log, args=(run_id, 1))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    client.log_metric(run_id, "loss", 0.0, step=11)
    client.get_run(run_id)
    until_now(lambda: len(steps(service.grpc_address, run_id)) == 12)
    assert sorted(steps(service.grpc_address, run_id)) == list(range(12))


_LOGS = """
import sys, time, mlflow
client = mlflow.MlflowClient()
for step in range(500):
    client.log_metric(sys.argv[1], "loss", 0.0, step=step)
"""


def test_the_end_of_a_script_waits_for_its_points(
    plugin_uri: str, service: ServeProcess, journal_directory: Path, run_id: str
) -> None:
    output_of(script(_LOGS, run_id, directory=journal_directory, MLFLOW_TRACKING_URI=plugin_uri))
    assert steps(service.grpc_address, run_id) == list(range(500))


def test_a_script_that_is_killed_loses_nothing_that_is_older_than_a_second(
    plugin_uri: str, service: ServeProcess, journal_directory: Path, run_id: str
) -> None:
    text = _LOGS + "time.sleep(1); print('now', flush=True); time.sleep(100)"
    process = script(text, run_id, directory=journal_directory, MLFLOW_TRACKING_URI=plugin_uri)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until_now(lambda: len(steps(service.grpc_address, run_id)) == 500)


_OVER_HTTP = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 1.0)
    print(type(mlflow.MlflowClient()._tracking_client.store).__module__)
print(run.info.run_id)
"""


@pytest.mark.parametrize(("variable", "module"), [("1", "runstream.mlflow.tracking_store"), ("", "mlflow.store")])
def test_the_uri_need_not_change(service: ServeProcess, journal_directory: Path, variable: str, module: str) -> None:
    done = script(
        _OVER_HTTP,
        directory=journal_directory,
        MLFLOW_TRACKING_URI=service.http_url,
        RUNSTREAM_MLFLOW_HTTP=variable,
        RUNSTREAM_ADDRESS=service.grpc_address,
    )
    store, run_id = [line for line in output_of(done).splitlines() if "://" not in line]
    assert store.startswith(module)
    assert steps(service.grpc_address, run_id) == [0]


@pytest.mark.parametrize("uri", ["runstream://", "runstream://host/path", "runstream://me:secret@host"])
def test_a_wrong_uri_is_an_error_of_mlflow(uri: str, tmp_path: Path) -> None:
    with pytest.raises(mlflow.MlflowException, match="tracking URI") as refused:
        mlflow.MlflowClient(uri).get_run("a" * 32)
    assert "secret" not in str(refused.value)
