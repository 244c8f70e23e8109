"""A classic script, with the last MLflow 2 and with mlflow-skinny, each in an environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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
    done = subprocess.run(
        [str(python), str(SCRIPT), serve.http_url, *extras],
        cwd=tmp_path,
        env=mlflow_environment({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.strip().splitlines()[-1].startswith("done with")
