"""A PostgreSQL on a temporary directory, and a service in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runstream_service.storage.embedded import EmbeddedPostgres


@dataclass(frozen=True, slots=True)
class Service:
    """One that is ready."""

    pid: int
    grpc: str  # HOST:PORT
    http: str  # http://HOST:PORT


@contextlib.asynccontextmanager
async def temporary_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A fresh one; it and its `data_dir` are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="runstream-bench-") as name:
        os.chmod(name, 0o755)  # noqa: S103 - for root, PostgreSQL runs as another user
        postgres = EmbeddedPostgres(Path(name))
        await postgres.start()
        try:
            yield postgres
        finally:
            await postgres.stop()


@contextlib.asynccontextmanager
async def service(
    database_url: str, log_file: Path, *options: str, program: Sequence[str] = ("-m", "runstream_service")
) -> AsyncIterator[Service]:
    """`runstream serve` on that database, with further options; stopped afterwards."""
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *program, "serve", "--json-ready", "--log-format", "json",
            "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--database", database_url, *options,
            stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the service did not start:\n{log_file.read_text()}")  # noqa: ASYNC240 - its end
        ready = json.loads(line)
        yield Service(process.pid, ready["grpc"], ready["http"])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
