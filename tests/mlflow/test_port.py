"""The agent's port for MLflow, with a real service behind it."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

import runstream
from runstream._endpoint import Endpoint, resolve
from runstream.journal import Directory, Position, Record, RecordType
from runstream.journal.format import decode_batch, decode_json
from runstream.journal.reader import JournalReader
from runstream.transport.transport import Transport
from runstream_service.mlflow_port.port import MlflowPort
from tests.support.rest import Rest
from tests.support.serve import ServeProcess


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.choose({"RUNSTREAM_DIR": str(tmp_path / "journals")})


@pytest.fixture
def port(service: ServeProcess, directory: Directory) -> Iterator[str]:
    started = MlflowPort(
        directory, listen=("127.0.0.1", 0), endpoint=Endpoint(service.grpc_address), http_url=service.http_url
    )
    started.start()
    yield started.url
    started.stop()


@pytest.fixture
def client(port: str) -> mlflow.MlflowClient:
    mlflow.set_tracking_uri(port)
    return mlflow.MlflowClient(port)


@pytest.fixture
def run_id(client: mlflow.MlflowClient) -> str:
    experiment = client.create_experiment(f"port-{uuid.uuid4().hex}")
    return str(client.create_run(experiment).info.run_id)


def records(directory: Directory) -> list[Record]:
    (path,) = directory.journals()
    return JournalReader(path, quarantine=False).read(1 << 20)


def settle(directory: Directory) -> None:
    """Writes into the positions of all journals that the service has everything."""
    for path in directory.journals():
        last = JournalReader(path, quarantine=False).read(1 << 20)[-1]
        Position(records=last.sequence).save(path, durable=False)


def test_what_is_logged_is_in_the_journal_when_it_is_answered(
    client: mlflow.MlflowClient, directory: Directory, run_id: str
) -> None:
    client.log_metric(run_id, "loss", 0.5, timestamp=1_000, step=3)
    client.log_param(run_id, "lr", 0.1)
    client.set_tag(run_id, "team", "vision")
    client.log_batch(
        run_id, metrics=[Metric("loss", math.nan, 2_000, 4), Metric("acc", 1.0, 2_000, 4)], params=[Param("b", "2")]
    )
    create, *rest = records(directory)
    said = decode_json(create.payload)
    assert (said["run_id"], said["rank"], said["attempt"], said["joins"]) == (run_id, -1, 0, True)
    kinds = [record.kind for record in rest]
    assert kinds.count(RecordType.BATCH) == 2
    assert [decode_json(one.payload) for one in rest if one.kind is RecordType.PARAMS] == [{"lr": "0.1"}, {"b": "2"}]
    assert [decode_json(one.payload) for one in rest if one.kind is RecordType.TAGS] == [{"team": "vision"}]
    first, second = (decode_batch(one.payload) for one in rest if one.kind is RecordType.BATCH)
    assert (list(memoryview(first.step).cast("B").cast("q")), len(second.value)) == ([3], 2 * 8)
    settle(directory)


def test_wrong_values_are_answered_as_by_the_service(
    client: mlflow.MlflowClient, directory: Directory, port: str, server: str, run_id: str
) -> None:
    at_port, at_service = Rest(port), Rest(server)
    for path, body in (
        ("runs/log-metric", {"run_id": run_id, "key": "bad!", "value": 1, "timestamp": 1}),
        ("runs/log-metric", {"run_id": run_id, "key": "a", "value": "much", "timestamp": 1}),
        ("runs/log-metric", {"run_id": "f" * 32, "key": "a", "value": 1, "timestamp": 1}),
        ("runs/log-batch", {"run_id": run_id, "params": [{"key": "a"}, {"key": "a"}]}),
        ("runs/log-batch", {"run_id": "f" * 32}),
        ("runs/set-tag", {"run_id": run_id}),
        ("no/such/path", {}),
    ):
        expected = at_service.post(path, body)
        found = at_port.post(path, body)
        assert (found.status, found.body) == (expected.status, expected.body)
        assert expected.status in (400, 404)
    at_port.close()
    at_service.close()
    assert directory.journals() == []


def test_another_value_of_a_param_is_refused(client: mlflow.MlflowClient, directory: Directory, run_id: str) -> None:
    client.log_param(run_id, "lr", 0.1)
    client.log_param(run_id, "lr", 0.1)
    with pytest.raises(MlflowException, match=r"was already logged with value='0\.1'"):
        client.log_param(run_id, "lr", 0.2)
    settle(directory)


def test_a_repeated_request_is_stored_once(client: mlflow.MlflowClient, directory: Directory, port: str) -> None:
    experiment = client.create_experiment(f"port-{uuid.uuid4().hex}")
    run_id = client.create_run(experiment).info.run_id
    rest = Rest(port)
    for _ in range(3):
        body = {"run_id": run_id, "key": "a", "value": 1, "timestamp": 1}
        assert rest.post("runs/log-metric", body).status == 200
    rest.close()
    assert [record.kind for record in records(directory)].count(RecordType.BATCH) == 1
    settle(directory)


def test_metrics_of_models_go_to_the_service(client: mlflow.MlflowClient, directory: Directory, run_id: str) -> None:
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, "m", run_id)
    client.log_metric(run_id, "accuracy", 0.5, step=1, model_id=model.model_id)
    assert directory.journals() == []
    assert [metric.key for metric in client.get_logged_model(model.model_id).metrics] == ["accuracy"]


def test_files_of_any_size_are_passed_on(client: mlflow.MlflowClient, run_id: str, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(b"0123456789abcdef" * (1 << 18))
    client.log_artifact(run_id, str(big))
    (tmp_path / "there").mkdir()
    found = client.download_artifacts(run_id, "big.bin", str(tmp_path.joinpath("there")))
    assert Path(found).read_bytes() == big.read_bytes()


def test_a_deleted_run_takes_nothing_and_a_restored_one_does(
    client: mlflow.MlflowClient, directory: Directory, run_id: str
) -> None:
    client.log_metric(run_id, "a", 1.0)
    settle(directory)
    client.delete_run(run_id)
    with pytest.raises(MlflowException, match="Current state is deleted"):
        client.log_metric(run_id, "a", 2.0)
    client.restore_run(run_id)
    client.log_metric(run_id, "a", 2.0)
    settle(directory)


def test_while_the_service_is_away_writes_are_answered_and_the_rest_waits(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from runstream_service.mlflow_port import port as module

    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    started = MlflowPort(
        directory, listen=("127.0.0.1", 0), endpoint=Endpoint("127.0.0.1:9"), http_url="http://127.0.0.1:9"
    )
    started.start()
    rest = Rest(started.url)
    status, code, message = rest.get("runs/get", {"run_id": "a" * 32}).error
    assert (status, code) == (503, "TEMPORARILY_UNAVAILABLE")
    assert "cannot be reached" in message
    assert caplog.text.count("a request of MLflow's API waits for the service at http://127.0.0.1:9") == 1
    assert "RUNSTREAM_MLFLOW_HTTP_ADDRESS" in caplog.text
    assert rest.post("runs/log-metric", {"run_id": "a" * 32, "key": "a", "value": 1, "timestamp": 1}).status == 200
    answer = rest.get("runs/get", {"run_id": "a" * 32})
    assert "has not reached the service yet" in answer.error[2]
    assert answer.headers["retry-after"] == "5"
    rest.close()
    started.stop()
    assert records(directory)[-1].kind is RecordType.FINISH


@pytest.fixture
def transport(directory: Directory) -> Iterator[None]:
    """A transport, which sends the journals as the agent does."""
    running = Transport(directory)
    running.start()
    yield
    running.stop()


@pytest.mark.usefixtures("transport")
def test_reads_see_what_was_logged(client: mlflow.MlflowClient, run_id: str) -> None:
    for step in range(3):
        client.log_metric(run_id, "loss", 1 / (step + 1), step=step)
    client.log_batch(run_id, params=[Param("lr", "0.1")], tags=[RunTag("team", "vision")])
    data = client.get_run(run_id).data
    assert (data.metrics, data.params, data.tags["team"]) == ({"loss": 1 / 3}, {"lr": "0.1"}, "vision")
    client.log_metric(run_id, "best", 2.0)
    assert [metric.value for metric in client.get_metric_history(run_id, "best")] == [2.0]
    client.log_metric(run_id, "best", 3.0, step=1)
    experiment = client.get_run(run_id).info.experiment_id
    assert len(client.search_runs([experiment], "metrics.best > 2.5")) == 1
    client.set_terminated(run_id)
    client.log_metric(run_id, "late", 1.0)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics["late"]) == ("FINISHED", 1.0)


@pytest.mark.usefixtures("transport")
def test_points_are_of_the_same_series_as_those_over_http(
    client: mlflow.MlflowClient, service: ServeProcess, run_id: str
) -> None:
    client.log_metric(run_id, "loss", 1.0, step=1)
    mlflow.MlflowClient(service.http_url).log_metric(run_id, "loss", 2.0, step=2)
    assert [metric.step for metric in client.get_metric_history(run_id, "loss")] == [1, 2]
    with runstream.Client(service.grpc_address) as reader:
        assert {(point.rank, point.attempt) for point in reader.latest(run_id)} == {(-1, 0)}


def test_a_foreign_host_is_refused(port: str) -> None:
    rest = Rest(port)
    assert rest.request("GET", "runs/get?run_id=x", headers={"host": "attacker.example"}).status == 403
    rest.close()


@pytest.fixture
def guarded_port(guarded: ServeProcess, directory: Directory) -> Iterator[str]:
    """In front of a service that asks for tokens; the agent has none of its own."""
    endpoint = Endpoint(guarded.grpc_address)
    started = MlflowPort(directory, listen=("127.0.0.1", 0), endpoint=endpoint, http_url=guarded.http_url)
    started.start()
    yield started.url
    started.stop()


@pytest.mark.usefixtures("transport")
def test_each_caller_is_sent_with_its_own_token(
    guarded: ServeProcess, guarded_port: str, directory: Directory, tokens: dict[str, str]
) -> None:
    callers = {team: Rest(guarded_port, token=tokens[team]) for team in ("team-a", "team-b")}
    runs = {}
    for team, rest in callers.items():
        experiment = rest.post("experiments/create", {"name": f"port-{uuid.uuid4().hex}"}).body["experiment_id"]
        runs[team] = rest.post("runs/create", {"experiment_id": experiment}).body["run"]["info"]["run_id"]
        body = {"run_id": runs[team], "key": "a", "value": 1, "timestamp": 1}
        assert rest.post("runs/log-metric", body).status == 200
    for team, rest in callers.items():
        data = rest.get("runs/get", {"run_id": runs[team]}).body["run"]["data"]
        assert [metric["key"] for metric in data["metrics"]] == ["a"]
        with runstream.Client(guarded.grpc_address, token=tokens[team]) as reader:
            assert len(reader.history(runs[team], "a")) == 1

    # What one has read is not told to the other: the run of another team is not there.
    of_b = {"run_id": runs["team-b"], "key": "a", "value": 2, "timestamp": 2}
    assert callers["team-a"].post("runs/log-metric", of_b).status == 404
    nobody = Rest(guarded_port)
    assert nobody.post("runs/log-metric", of_b).status == 401
    wrong = Rest(guarded_port, token="rst_nonsense")
    assert wrong.post("runs/log-metric", of_b).status == 401
    anybody = Rest(guarded_port, prefix="/api/3.0/mlflow/")
    assert anybody.get("server-info").status == 200
    for rest in (*callers.values(), nobody, wrong, anybody):
        rest.close()
    for path in directory.journals():
        assert not any(token.encode() in file.read_bytes() for token in tokens.values() for file in path.glob("*.seg"))


@pytest.mark.usefixtures("transport")
def test_a_caller_without_a_token_is_sent_with_that_of_the_agent(
    guarded: ServeProcess, directory: Directory, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNSTREAM_TOKEN", tokens["team-a"])
    endpoint = resolve(guarded.grpc_address, os.environ)
    started = MlflowPort(directory, listen=("127.0.0.1", 0), endpoint=endpoint, http_url=guarded.http_url)
    started.start()
    rest = Rest(started.url)
    experiment = rest.post("experiments/create", {"name": f"port-{uuid.uuid4().hex}"}).body["experiment_id"]
    run_id = rest.post("runs/create", {"experiment_id": experiment}).body["run"]["info"]["run_id"]
    assert rest.post("runs/log-metric", {"run_id": run_id, "key": "a", "value": 1, "timestamp": 1}).status == 200
    assert rest.get("runs/get", {"run_id": run_id}).body["run"]["data"]["metrics"]
    rest.close()
    started.stop()
    assert not directory.credentials_path.exists(), "the agent has it already"
