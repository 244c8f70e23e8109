"""The servers that are compared, each in processes of its own on a database of its own in the same PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import asyncpg
import psutil

from runstream_bench import http_client

MLFLOW = "mlflow>=3.17,<4"
FASTTRACKML = "fasttrackml>=0.6,<0.7"
_START_SECONDS = 120.0


class NotInstalled(Exception):
    """A server to compare with cannot be had here; says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers."""

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
    command = [sys.executable, "-m", "runstream_service", "serve", "--json-ready", "--log-format", "json"]
    command += ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--database", database_url]
    command += ["--epoch-seconds", "5", "--data-dir", str(directory / "runstream")]
    async with _process(command, directory, {}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        if not line:
            raise RuntimeError(f"the service did not start:\n{_last_words(directory)}")
        url = json.loads(line)["http"]
        count = "SELECT count(*) FROM metric_points"
        yield Server("runstream", url, database_url, count, psutil.Process(process.pid))


def stock(python: str) -> Starter:
    """`mlflow server` with two workers, as that Python has it. Without the processes for background jobs: they would
    take time from it."""

    @contextlib.asynccontextmanager
    async def start(postgres_url: str, directory: Path) -> AsyncIterator[Server]:
        database_url = await database(postgres_url, "bench_mlflow")
        port = _free_port()
        command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
        command += ["--backend-store-uri", database_url.replace("postgresql:", "postgresql+psycopg2:", 1)]
        command += ["--artifacts-destination", str(directory / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        async with _process(command, directory, quiet) as process:
            url = f"http://127.0.0.1:{port}"
            await _answers(url, "/health", process, directory)
            yield Server("mlflow", url, database_url, "SELECT count(*) FROM metrics", psutil.Process(process.pid))

    return start


def fasttrackml(binary: str) -> Starter:
    """`fml server`."""

    @contextlib.asynccontextmanager
    async def start(postgres_url: str, directory: Path) -> AsyncIterator[Server]:
        database_url = await database(postgres_url, "bench_fasttrackml")
        port = _free_port()
        command = [binary, "server", "--listen-address", f"127.0.0.1:{port}", "--log-level", "error"]
        command += ["--database-uri", database_url.replace("postgresql:", "postgres:", 1)]
        command += ["--default-artifact-root", str(directory / "fasttrackml")]
        async with _process(command, directory, {}) as process:
            url = f"http://127.0.0.1:{port}"
            await _answers(url, "/api/2.0/mlflow/experiments/get?experiment_id=0", process, directory)
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
    """Creates it; returns its URL."""
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    base, _, query = postgres_url.partition("?")
    return f"{base.rsplit('/', 1)[0]}/{name}?{query}"


@contextlib.asynccontextmanager
async def _process(
    command: list[str], directory: Path, extra: Mapping[str, str], *, stdout: int | None = None
) -> AsyncIterator[subprocess.Popen[bytes]]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "RUNSTREAM_", "FML_"))}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - it begins at once; a server of this file
            command,
            cwd=directory,
            env={**kept, **extra},
            stdin=subprocess.DEVNULL,
            stdout=log if stdout is None else stdout,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _answers(url: str, path: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError, HTTPException):
            if (await asyncio.to_thread(http_client.get, url + path)).status == 200:
                return
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"it did not start:\n{_last_words(directory)}")
        await asyncio.sleep(0.2)


def _last_words(directory: Path) -> str:
    return (directory / "log").read_text(errors="replace")[-3_000:]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
