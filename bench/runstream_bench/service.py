"""A PostgreSQL on a temporary directory, and a service in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runstream_service.database.embedded import EmbeddedPostgres


@dataclass(frozen=True, slots=True)
class Service:
    """One that is ready."""

    pid: int
    grpc: str  # HOST:PORT
    http: str  # http://HOST:PORT


@contextlib.asynccontextmanager
async def temporary_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A fresh one; it and its `data_dir` are gone afterwards. Clients have a directory of journals of their own."""
    with tempfile.TemporaryDirectory(prefix="runstream-bench-") as name, _temporary_journals():
        os.chmod(name, 0o755)  # noqa: S103 - for root, PostgreSQL runs as another user
        postgres = EmbeddedPostgres(Path(name))
        await postgres.start()
        try:
            yield postgres
        finally:
            await postgres.stop()


@contextlib.contextmanager
def _temporary_journals() -> Iterator[None]:
    """Sets RUNSTREAM_DIR: nothing of the benchmark waits in the directory of the user. Agents end when it is gone."""
    before = os.environ.get("RUNSTREAM_DIR")
    with tempfile.TemporaryDirectory(prefix="runstream-bench-", ignore_cleanup_errors=True) as journals:
        os.environ["RUNSTREAM_DIR"] = journals
        try:
            yield
        finally:
            os.environ.pop("RUNSTREAM_DIR")
            if before is not None:
                os.environ["RUNSTREAM_DIR"] = before


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
