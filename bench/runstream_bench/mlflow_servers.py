"""The servers that are compared, each in processes of its own on a database of its own in the same PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import venv
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from runstream_bench.server_process import RunstreamProcess, ServerProcess, free_port

MLFLOW = "mlflow>=3.17,<4"
FASTTRACKML = "fasttrackml>=0.6,<0.7"


class NotInstalled(Exception):
    """A server to compare with cannot be installed here; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers requests."""

    name: str
    url: str
    database_url: str
    count_points: str
    process: psutil.Process

    def memory_mb(self) -> float:
        """Resident memory of all its processes."""
        total = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / 1e6


Starter = Callable[[str, Path], contextlib.AbstractAsyncContextManager[Server]]


@contextlib.asynccontextmanager
async def runstream(postgres_url: str, directory: Path) -> AsyncIterator[Server]:
    """Our service. Epochs are short, so that the clock does not wait for the last one."""
    database_url = await database(postgres_url, "bench_runstream")
    options = ["--database", database_url, "--epoch-seconds", "5", "--data-dir", str(directory / "runstream")]
    process = RunstreamProcess(directory / "log", *options, environment=_environment({}))
    async with process.running():
        count = "SELECT count(*) FROM metric_points"
        yield Server("runstream", process.http_url, database_url, count, psutil.Process(process.pid))


def stock(python: str) -> Starter:
    """`mlflow server` with two workers, as that Python has it. Without the processes for background jobs: they would
    take time from it."""

    @contextlib.asynccontextmanager
    async def start(postgres_url: str, directory: Path) -> AsyncIterator[Server]:
        database_url = await database(postgres_url, "bench_mlflow")
        port = free_port()
        command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
        command += ["--backend-store-uri", database_url.replace("postgresql:", "postgresql+psycopg2:", 1)]
        command += ["--artifacts-destination", str(directory / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        url = f"http://127.0.0.1:{port}"
        process = ServerProcess(
            command,
            directory / "log",
            ready_url=f"{url}/health",
            environment=_environment(quiet),
            directory=directory,
        )
        async with process.running():
            yield Server("mlflow", url, database_url, "SELECT count(*) FROM metrics", psutil.Process(process.pid))

    return start


def fasttrackml(binary: str) -> Starter:
    """FastTrackML's `fml server`."""

    @contextlib.asynccontextmanager
    async def start(postgres_url: str, directory: Path) -> AsyncIterator[Server]:
        database_url = await database(postgres_url, "bench_fasttrackml")
        port = free_port()
        command = [binary, "server", "--listen-address", f"127.0.0.1:{port}", "--log-level", "error"]
        command += ["--database-uri", database_url.replace("postgresql:", "postgres:", 1)]
        command += ["--default-artifact-root", str(directory / "fasttrackml")]
        url = f"http://127.0.0.1:{port}"
        process = ServerProcess(
            command,
            directory / "log",
            ready_url=f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0",
            environment=_environment({}),
            directory=directory,
        )
        async with process.running():
            yield Server("fasttrackml", url, database_url, "SELECT count(*) FROM metrics", psutil.Process(process.pid))

    return start


def environment(name: str, packages: Sequence[str], *options: str) -> Path:
    """The `bin` of a virtual environment with these packages, made once and kept in the user's cache.

    Raises:
        NotInstalled: pip could not.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runstream" / "bench" / name
    ready = cache / "ready"
    wanted = " ".join(packages)
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(cache, ignore_errors=True)
        venv.create(cache, with_pip=True)
        install = [str(cache / "bin" / "python"), "-m", "pip", "install", "--quiet", *options, *packages]
        done = subprocess.run(install, capture_output=True, text=True, check=False)  # noqa: S603 - our own names
        if done.returncode:
            raise NotInstalled((done.stderr.strip().splitlines() or ["pip failed"])[-1])
        ready.write_text(wanted)
    return cache / "bin"


async def database(postgres_url: str, name: str) -> str:
    """Creates a database of this name; returns its URL."""
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    base, _, query = postgres_url.partition("?")
    return f"{base.rsplit('/', 1)[0]}/{name}?{query}"


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment without settings of the servers that are compared."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "RUNSTREAM_", "FML_"))}
    return {**kept, **extra}
