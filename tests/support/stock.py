"""A stock `mlflow server` on SQLite in a process of its own, to compare with."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from runstream_bench.server_process import ServerProcess, free_port
from tests.support.serve import command_environment

# Its schema takes ten seconds to make, once for each version.
_TEMPLATES = Path(__file__).resolve().parents[2] / "build" / "stock-mlflow"
# No background jobs (they are seven processes), no reports to anybody, and no warnings about its own imports.
_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "PYTHONWARNINGS": "ignore",
}


def mlflow_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment, without settings of MLflow and runstream."""
    kept = {name: value for name, value in command_environment().items() if not name.startswith(("MLFLOW_", "_MLFLOW"))}
    return {**kept, **_ENVIRONMENT, **(extra or {})}


@contextlib.contextmanager
def stock_server(*arguments: str, timeout_s: float = 110, place: Path | None = None) -> Iterator[str]:
    """Starts a stock server; yields its address. `place` is the directory that it makes, with mlflow.db and artifacts.

    Raises:
        RuntimeError: it did not start; with what it said.
    """
    directory = place or Path(tempfile.mkdtemp(prefix="stock-mlflow-"))
    directory.mkdir(exist_ok=True)
    database = directory / "mlflow.db"
    template = stock_template()
    if template.exists():
        shutil.copyfile(template, database)
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(directory / "artifacts")]
    command += arguments
    process = ServerProcess(
        command,
        directory / "log",
        ready_url=f"{url}/health",
        environment=mlflow_environment(),
        directory=directory,
        stop_s=20,
    )
    try:
        process.start(timeout_s=timeout_s)
        if not template.exists():
            _keep(database, template)
        yield url
    finally:
        process.stop()
        shutil.rmtree(directory, ignore_errors=True)


def stock_template() -> Path:
    """A database as the server makes it; it is there once a server has run."""
    return _TEMPLATES / f"{importlib.metadata.version('mlflow')}.db"


def place_stock_database(database: Path) -> None:
    """Makes a database with nothing in it, as a stock server does. Only the first one on a machine needs a server."""
    template = stock_template()
    if not template.exists():
        with stock_server(timeout_s=250):
            pass
    shutil.copyfile(template, database)


def _keep(database: Path, template: Path) -> None:
    """Nothing has been written yet but the schema and the Default experiment, whose artifacts are below no path."""
    template.parent.mkdir(parents=True, exist_ok=True)
    being_made = template.with_suffix(f".{os.getpid()}")
    shutil.copyfile(database, being_made)
    being_made.replace(template)
