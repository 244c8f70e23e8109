"""A classic script, with the last MLflow 2 and with mlflow-skinny, each in an environment of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runstream_service.auth.tracking_uris import tracking_uri
from tests.support.access import AUTH, make_token, make_workspace
from tests.support.databases import short_directory
from tests.support.environments import environment
from tests.support.serve import ServeProcess
from tests.support.stock import mlflow_environment

SCRIPT = Path(__file__).with_name("classic_script.py")
# The newest of each; setuptools for what MLflow 2 still imports of it.
VERSIONS = (
    ("mlflow-2", ("mlflow<3", "setuptools<81"), ("sklearn",)),
    ("mlflow-skinny", ("mlflow-skinny>=3.17",), ()),
)


@pytest.mark.timeout(700)
@pytest.mark.parametrize(("name", "packages", "extras"), VERSIONS, ids=[name for name, _, _ in VERSIONS])
def test_a_classic_script_runs_unchanged(
    serve: ServeProcess, name: str, packages: tuple[str, ...], extras: tuple[str, ...], tmp_path: Path
) -> None:
    python = environment(name, *packages)
    run_script(python, serve.http_url, extras, {}, tmp_path)


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServeProcess]:
    """A service that asks for tokens, with the workspace team-a."""
    with short_directory() as directory, ServeProcess(directory / "data", arguments=AUTH) as process:
        make_workspace(process, "team-a")
        yield process


@pytest.mark.timeout(700)
@pytest.mark.parametrize(("name", "packages", "extras"), VERSIONS, ids=[name for name, _, _ in VERSIONS])
@pytest.mark.parametrize("way", ["token", "password", "uri"])
def test_a_classic_script_runs_in_a_workspace_with_a_token(
    guarded: ServeProcess, name: str, packages: tuple[str, ...], extras: tuple[str, ...], way: str, tmp_path: Path
) -> None:
    python = environment(name, *packages)
    token = make_token(guarded, name=f"{name} {way}", workspace="team-a")
    if way == "uri":
        run_script(python, tracking_uri(guarded.http_url, token), extras, {}, tmp_path)
    elif way == "token":
        run_script(python, guarded.http_url, extras, {"MLFLOW_TRACKING_TOKEN": token}, tmp_path)
    else:
        password = {"MLFLOW_TRACKING_USERNAME": "anybody", "MLFLOW_TRACKING_PASSWORD": token}
        run_script(python, guarded.http_url, extras, password, tmp_path)


def run_script(python: Path, uri: str, extras: tuple[str, ...], variables: dict[str, str], where: Path) -> None:
    """Runs the classic script; it has to get to its end."""
    done = subprocess.run(
        [str(python), str(SCRIPT), uri, *extras],
        cwd=where,
        env=mlflow_environment({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", **variables}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.strip().splitlines()[-1].startswith("done with")
