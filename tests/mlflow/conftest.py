"""Our service, a stock `mlflow server`, and MLflow's client without settings of the person who runs the tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from runstream._endpoint import Endpoint
from runstream.journal import Directory
from runstream_service.auth.tracking_uris import tracking_uri
from runstream_service.mlflow_port.port import MlflowPort
from tests.support.access import AUTH, make_token, make_workspace
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.rest import Rest
from tests.support.serve import ServeProcess, command_environment
from tests.support.stock import stock_server

# Before the first import of mlflow, which begins to report when it is imported. Few attempts: a failure shows at once.
_CLIENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
for _name in [name for name in os.environ if name.startswith(("MLFLOW_", "_MLFLOW"))]:
    del os.environ[_name]
os.environ.update(_CLIENT)

with warnings.catch_warnings():
    # Warnings of MLflow and its dependencies during their import; they are not our fault.
    warnings.simplefilter("ignore")
    import mlflow
    import mlflow.tracking

# Warnings of MLflow's own code while it runs; they are not our fault.
_WARNINGS_OF_MLFLOW = (
    "ignore::DeprecationWarning:mlflow.*",
    "ignore::FutureWarning:mlflow.*",
    "ignore::UserWarning:mlflow.*",
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
)
# `SERVE_AUTH=on` runs the tests with a token in their tracking URI.
ASKS_FOR_TOKENS = os.environ.get("SERVE_AUTH") == "on"
TEAMS = ("team-a", "team-b")
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Adds the filters to the tests of this package only."""
    for item in items:
        if _HERE in item.path.parents:
            for filtered in _WARNINGS_OF_MLFLOW:
                item.add_marker(pytest.mark.filterwarnings(filtered), append=False)


@pytest.fixture(scope="session")
def service() -> Iterator[ServeProcess]:
    """One runstream service with a PostgreSQL of its own. Tests share it: each makes experiments of its own."""
    arguments = AUTH if ASKS_FOR_TOKENS else ()
    with short_directory() as directory, ServeProcess(directory, arguments=arguments) as serve:
        yield serve


@contextlib.contextmanager
def service_of_teams(*arguments: str) -> Iterator[ServeProcess]:
    """A service that asks for tokens, with the workspaces team-a and team-b."""
    with short_directory() as directory, ServeProcess(directory / "data", arguments=(*AUTH, *arguments)) as serve:
        for team in TEAMS:
            make_workspace(serve, team)
        yield serve


def tokens_of_teams(serve: ServeProcess) -> dict[str, str]:
    """Tokens of that service: one that manages each team's workspace, and that of an admin."""
    managing = {team: make_token(serve, name="manager", role="manage", workspace=team) for team in TEAMS}
    return {**managing, "admin": make_token(serve, name="admin", role="admin")}


@pytest.fixture(scope="session")
def guarded() -> Iterator[ServeProcess]:
    """A service that asks for tokens, with the workspaces of two teams."""
    with service_of_teams() as serve:
        yield serve


@pytest.fixture(scope="session")
def tokens(guarded: ServeProcess) -> dict[str, str]:
    """Its tokens."""
    return tokens_of_teams(guarded)


@pytest.fixture
def team_a(guarded: ServeProcess, tokens: Mapping[str, str]) -> Iterator[Rest]:
    """A REST caller with the token of team-a."""
    with contextlib.closing(Rest(guarded.http_url, token=tokens["team-a"])) as rest:
        yield rest


@pytest.fixture
def team_b(guarded: ServeProcess, tokens: Mapping[str, str]) -> Iterator[Rest]:
    """A REST caller with the token of team-b."""
    with contextlib.closing(Rest(guarded.http_url, token=tokens["team-b"])) as rest:
        yield rest


@pytest.fixture
def admin(guarded: ServeProcess, tokens: Mapping[str, str]) -> Iterator[Rest]:
    """A REST caller with the token of an admin."""
    with contextlib.closing(Rest(guarded.http_url, token=tokens["admin"])) as rest:
        yield rest


@pytest.fixture(scope="session")
def server(service: ServeProcess) -> str:
    """The tracking URI of our service."""
    if not ASKS_FOR_TOKENS:
        return service.http_url
    return tracking_uri(service.http_url, make_token(service, name="tests", role="admin"))


@pytest.fixture
def guarded_uri(guarded: ServeProcess, tokens: Mapping[str, str]) -> str:
    """The tracking URI of team-a at the service that asks for tokens."""
    return tracking_uri(guarded.http_url, tokens["team-a"])


@pytest.fixture
def plugin_uri(service: ServeProcess) -> str:
    """The tracking URI of our service for the plugin, which has its journals in the directory of the test."""
    return f"runstream://{service.grpc_address}?http={service.http_url}"


@pytest.fixture(scope="session")
def port(service: ServeProcess) -> Iterator[str]:
    """The tracking URI of an agent's port for MLflow."""
    with short_directory() as path:
        directory = Directory(path)
        command = [sys.executable, "-m", "runstream.agent", "run", "--stay", "--dir", str(path)]
        with subprocess.Popen(command, env=command_environment()) as agent:
            until_now(directory.agent_runs)
            port = MlflowPort(
                directory, listen=("127.0.0.1", 0), endpoint=Endpoint(service.grpc_address), http_url=service.http_url
            )
            port.start()
            yield port.url
            port.stop()
            agent.kill()


@pytest.fixture(scope="session")
def stock() -> Iterator[str]:
    """The tracking URI of a stock `mlflow server`; it starts when the first test asks for it."""
    with stock_server() as url:
        yield url


@pytest.fixture
def ours(server: str) -> Iterator[Rest]:
    """A REST caller of our service."""
    rest = Rest(server)
    yield rest
    rest.close()


@pytest.fixture
def theirs(stock: str) -> Iterator[Rest]:
    """A REST caller of the stock server."""
    rest = Rest(stock)
    yield rest
    rest.close()


@pytest.fixture(autouse=True)
def _no_settings_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Isolates tests from what others set in MLflow, in the environment or in the working directory."""
    for name, value in _CLIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.tracking.fluent._active_experiment_id = None
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    _close_handles_of_the_plugin()
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name not in _CLIENT]:
        del os.environ[name]


def _close_handles_of_the_plugin() -> None:
    """The next test has another directory for journals. Their thread is of this process, and other tests count
    threads."""
    module = sys.modules.get("runstream.mlflow.journal_sink")
    if module is None:
        return
    for sink in module._sinks.values():
        for run_id in list(sink._handles):
            sink.close(run_id)
    module._sinks.clear()
    mlflow.tracking._tracking_service.utils._tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    until_now(lambda: "runstream-recorder" not in {thread.name for thread in threading.enumerate()})


@pytest.fixture
def tracking(server: str) -> str:
    """Points `mlflow` at our service for this test."""
    mlflow.set_tracking_uri(server)
    return server


@pytest.fixture
def client(tracking: str) -> mlflow.MlflowClient:
    """MLflow's client of our service."""
    return mlflow.MlflowClient(tracking)


@pytest.fixture
def experiment_id(ours: Rest) -> str:
    """A new, empty experiment of our service."""
    created = ours.post("experiments/create", {"name": f"experiment {uuid.uuid4().hex}"})
    return str(created.body["experiment_id"])


@pytest.fixture
def name() -> str:
    """A name for a registered model that does not exist yet."""
    return f"model-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def model(ours: Rest, name: str) -> str:
    """A registered model without versions."""
    assert ours.post("registered-models/create", {"name": name}).status == 200
    return name
