"""The plugin at a service that asks for tokens: over gRPC and over HTTP, with variables of either side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import runstream
from runstream.mlflow.address import Address, of_http_uri
from runstream.mlflow.credentials import endpoint_of, host_creds, settings_of, workspace_header
from tests.support import preloaded
from tests.support.access import make_token
from tests.support.agents import end_agents
from tests.support.serve import ServeProcess
from tests.support.stock import mlflow_environment, script_modules

_SCRIPT = """
import mlflow
mlflow.set_tracking_uri("URI")
mlflow.set_experiment("digits")
with mlflow.start_run() as run:
    mlflow.log_param("lr", 0.1)
    for step in range(10):
        mlflow.log_metric("loss", 1.0, step=step)
    mlflow.log_text("hello", "notes.txt")
history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
assert mlflow.artifacts.load_text(run.info.artifact_uri + "/notes.txt") == "hello"
mlflow.MlflowClient().search_registered_models()
print(run.info.run_id, len(history))
"""


@pytest.fixture
def serve(guarded: ServeProcess) -> ServeProcess:
    return guarded


@pytest.fixture(scope="module")
def token(guarded: ServeProcess) -> str:
    return make_token(guarded, name="ci", workspace="team-a")


@pytest.fixture
def admin(tokens: Mapping[str, str]) -> str:
    return tokens["admin"]


def script(uri: str, tmp_path: Path, **environment: str) -> str:
    """The run that the script has logged."""
    try:
        done = preloaded.run(
            [sys.executable, "-c", _SCRIPT.replace("URI", uri)],
            mlflow_environment({"RUNSTREAM_DIR": str(tmp_path / "state"), "HOME": str(tmp_path), **environment}),
            modules=script_modules(environment),
            timeout_s=100,
        )
    finally:
        end_agents(tmp_path / "state")
    assert done.returncode == 0, done.stderr
    run_id, points = done.stdout.split()[-2:]
    assert points == "10"
    return run_id


def stored(serve: ServeProcess, token: str, run_id: str) -> int:
    return len(runstream.Client(serve.grpc_address, token=token).history(run_id, "loss", rank=-1))


@pytest.mark.parametrize("side", ["RUNSTREAM", "MLFLOW", "BASIC"])
def test_a_script_gives_its_token_on_either_side(serve: ServeProcess, token: str, tmp_path: Path, side: str) -> None:
    environment = {
        "RUNSTREAM": {"RUNSTREAM_TOKEN": token},
        "MLFLOW": {"MLFLOW_TRACKING_TOKEN": token},
        "BASIC": {"MLFLOW_TRACKING_USERNAME": "anybody", "MLFLOW_TRACKING_PASSWORD": token},
    }[side]
    run_id = script(f"runstream://{serve.grpc_address}?http={serve.http_url}", tmp_path, **environment)
    assert stored(serve, token, run_id) == 10


def test_a_workspace_is_entered_on_both_sides(serve: ServeProcess, token: str, admin: str, tmp_path: Path) -> None:
    uri = f"runstream://{serve.grpc_address}?http={serve.http_url}"
    run_id = script(uri, tmp_path, RUNSTREAM_TOKEN=admin, RUNSTREAM_WORKSPACE="team-a")
    assert stored(serve, token, run_id) == 10, "the token of that workspace sees it"


def test_the_journal_goes_to_the_workspace_that_mlflow_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    address = Address("tracker:50051", "http://tracker:5000")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    assert settings_of(address, {}).endpoint.credentials.workspace == "team-a"
    assert settings_of(address, {"RUNSTREAM_WORKSPACE": "team-b"}).endpoint.credentials.workspace == "team-b"
    assert workspace_header({"RUNSTREAM_WORKSPACE": "team-b"}) == {}, "MLflow sends its own"
    monkeypatch.delenv("MLFLOW_WORKSPACE")
    assert workspace_header({"RUNSTREAM_WORKSPACE": "team-b"}) == {"X-MLFLOW-WORKSPACE": "team-b"}


def test_a_tracking_uri_with_a_token_works_with_the_plugin_for_http(
    serve: ServeProcess, token: str, tmp_path: Path
) -> None:
    environ = {"RUNSTREAM_MLFLOW_HTTP_ADDRESS": serve.http_url}
    uri = runstream.Client(serve.grpc_address, token=token, environ=environ).tracking_uri()
    run_id = script(uri, tmp_path, RUNSTREAM_MLFLOW_HTTP="1", RUNSTREAM_ADDRESS=serve.grpc_address)
    assert stored(serve, token, run_id) == 10


def test_the_token_goes_to_the_service_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_TOKEN", "secret")
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    address = Address("grpcs://tracker:50051", "https://tracker:5000")
    endpoint = endpoint_of(address)
    assert host_creds(address, endpoint).token == "secret"
    assert host_creds(address, endpoint, "https://tracker:5000/api/2.0/mlflow-artifacts/artifacts").token == "secret"
    assert host_creds(address, endpoint, "https://elsewhere:5000").token is None
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "of MLflow")
    assert host_creds(address, endpoint).token == "of MLflow"


def test_the_files_for_tls_are_those_of_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CA", "CERT", "KEY"):
        monkeypatch.setenv(f"RUNSTREAM_TLS_{name}", f"/{name}.pem")
    address = of_http_uri("https://tracker:5000", {})
    creds = host_creds(address, endpoint_of(address))
    assert (creds.server_cert_path, creds.client_cert_path) == ("/CA.pem", ("/CERT.pem", "/KEY.pem"))


def test_the_password_in_a_uri_is_the_token_of_the_journal_and_is_not_shown() -> None:
    address = of_http_uri("http://token:rst_secret@tracker:5000", {})
    settings = settings_of(address, {"RUNSTREAM_TOKEN": "other"})
    assert settings.endpoint.metadata() == (("authorization", "Bearer rst_secret"),)
    assert "rst_secret" not in repr(settings)
