"""A stock MLflow server on SQLite in a process of its own, to compare with."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runstream_bench.server_process import ServerProcess, free_port
from tests.support import preloaded
from tests.support.serve import command_environment

# The schema takes a second or two of the processor, once for each version.
_TEMPLATES = Path(__file__).resolve().parents[2] / "build" / "stock-mlflow"
# No background jobs (they are seven processes), no reports to anybody, and no warnings about its own imports.
_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "PYTHONWARNINGS": "ignore",
}
_ARTIFACT_ROOT = "mlflow-artifacts:/"
# For `preloaded`: what scripts of MLflow's users import, and find out when they log a model.
SCRIPT_MODULES = (*preloaded.MLFLOW, "tests.support.mlflow_scripts")
_HTTP_PLUGIN = "RUNSTREAM_MLFLOW_HTTP"  # read when MLflow is imported
# What `mlflow server` does with a new database before it starts its workers.
_MAKE_DATABASE = """
import sys
from mlflow.server.handlers import initialize_backend_stores
initialize_backend_stores(*sys.argv[1:])
"""


def mlflow_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment, without settings of MLflow and runstream."""
    kept = {name: value for name, value in command_environment().items() if not name.startswith(("MLFLOW_", "_MLFLOW"))}
    return {**kept, **_ENVIRONMENT, **(extra or {})}


def script_modules(environment: Mapping[str, str]) -> Sequence[str]:
    """What to import for a script. A process that has another plugin forks few scripts, which would not use it all."""
    return ("mlflow",) if environment.get(_HTTP_PLUGIN) else SCRIPT_MODULES


class _Worker(ServerProcess):
    """The one worker of `mlflow server`: it has the command and the variables that a worker gets from that process.

    Without the process above it, and as a fork of one that has imported MLflow, it starts in a fifth of the processor
    time.
    """

    def __init__(self, directory: Path, variables: Mapping[str, str], modules: Sequence[str]) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._modules = modules
        command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
        store = f"sqlite:///{directory / 'mlflow.db'}"
        settings = {
            "_MLFLOW_SERVER_FILE_STORE": store,
            "_MLFLOW_SERVER_REGISTRY_STORE": store,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": _ARTIFACT_ROOT,
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(directory / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
        }
        super().__init__(
            [*command, "mlflow.server.fastapi_app:app"],
            directory / "log",
            ready_url=f"{self.url}/health",
            environment=mlflow_environment({**settings, **variables}),
            directory=directory,
            stop_s=20,
        )

    def _popen(self, command: Sequence[str], files: Mapping[str, Any]) -> subprocess.Popen[str]:
        assert self._environment is not None
        return preloaded.Preloaded(command, self._environment, modules=self._modules, cwd=self._directory, **files)


@contextlib.contextmanager
def stock_server(
    variables: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 110,
    place: Path | None = None,
    modules: Sequence[str] = SCRIPT_MODULES,
) -> Iterator[str]:
    """Starts a stock server; yields its address. `place` is the directory that it makes, with mlflow.db and artifacts.

    `modules`: of the process that it is a fork of. The default is right where tests start scripts, too.

    Raises:
        RuntimeError: it did not start; with what it said.
    """
    directory = place or Path(tempfile.mkdtemp(prefix="stock-mlflow-"))
    directory.mkdir(exist_ok=True)
    place_stock_database(directory / "mlflow.db", modules)
    process = _Worker(directory, variables or {}, modules)
    try:
        process.start(timeout_s=timeout_s)
        yield process.url
    finally:
        process.stop()
        shutil.rmtree(directory, ignore_errors=True)


def place_stock_database(database: Path, modules: Sequence[str] = SCRIPT_MODULES) -> None:
    """Makes a database with the Default experiment alone, as a stock server does. `modules`: as above."""
    template = _TEMPLATES / f"{importlib.metadata.version('mlflow')}.db"
    if not template.exists():
        _TEMPLATES.mkdir(parents=True, exist_ok=True)
        with (_TEMPLATES / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not template.exists():
                _make(template, modules)
    shutil.copyfile(template, database)


def _make(template: Path, modules: Sequence[str]) -> None:
    """The artifacts of the Default experiment are below no path, so that a copy is as good as the original."""
    unfinished = template.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    store = f"sqlite:///{unfinished}"
    done = preloaded.run(
        [sys.executable, "-c", _MAKE_DATABASE, store, store, _ARTIFACT_ROOT],
        mlflow_environment(),
        modules=modules,
    )
    if done.returncode:
        raise RuntimeError(f"no database of a stock server: {done.stderr[-3_000:]}")
    unfinished.replace(template)
