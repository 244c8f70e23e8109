"""A PostgreSQL on a temporary directory, and a service in a process of its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from runstream_bench.server_process import COMMAND, RunstreamProcess
from runstream_service.database.embedded import EmbeddedPostgres


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
    database_url: str, log: Path, *options: str, command: Sequence[str] = COMMAND
) -> AsyncIterator[RunstreamProcess]:
    """`runstream serve` on that database, with further options; stopped afterwards."""
    process = RunstreamProcess(log, "--database", database_url, *options, command=command)
    async with process.running():
        yield process
