"""A stock `mlflow server` on SQLite in a process of its own, to compare with."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from runstream_bench import http_client
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
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(directory / "artifacts")]
    command += arguments
    log_file = directory / "log"
    try:
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command, env=mlflow_environment(), cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(url, process, log_file, timeout_s)
            if not template.exists():
                _keep(database, template)
            yield url
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def stock_template() -> Path:
    """A database as the server makes it; it is there once a server has run."""
    return _TEMPLATES / f"{importlib.metadata.version('mlflow')}.db"


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log_file: Path, timeout_s: float) -> None:
    give_up = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            if http_client.get(url + "/health", timeout_s=5).status == 200:
                return
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"mlflow server did not get ready:\n{log_file.read_text()}")
        time.sleep(0.1)


def _keep(database: Path, template: Path) -> None:
    """Nothing has been written yet but the schema and the Default experiment, whose artifacts are below no path."""
    template.parent.mkdir(parents=True, exist_ok=True)
    being_made = template.with_suffix(f".{os.getpid()}")
    shutil.copyfile(database, being_made)
    being_made.replace(template)


def _free_port() -> int:
    """A free port: `mlflow server` does not say which port it got for port 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
