"""A connection pooler between the service and PostgreSQL: one that keeps sessions works, others are refused."""

from __future__ import annotations

import time
from pathlib import Path

import asyncpg
import pytest

import runstream
from runstream_service.database.pool import Database
from tests.support import preloaded
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer
from tests.support.serve import COMMAND, ServeProcess, command_environment

pytestmark = needs_pgbouncer


async def test_a_pooler_in_session_mode_works_and_is_named(database_url: str, data_dir: Path) -> None:
    with (
        pgbouncer(database_url, mode="session") as url,
        ServeProcess(data_dir, arguments=["--database", url, "--epoch-seconds", "1"]) as serve,
        runstream.start_run("pooled", "session", address=serve.grpc_address) as run,
        runstream.Client(serve.grpc_address) as client,
    ):
        serve.wait_for_action("pooler_found")
        for step in range(1_000):
            run.log({"loss": step}, step=step)
        assert run.flush(30)
        serve.wait_for_action("epoch_rolled")
        assert [point.step for point in client.history(run.run_id, "loss")] == list(range(1_000))
        assert serve.get("/readyz")[0] == 200
        assert "rpc_failed" not in serve.actions()


async def test_sessions_through_a_pooler_have_durable_commits_and_timeouts(database_url: str) -> None:
    admin = await asyncpg.connect(database_url)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await admin.close()
    with pgbouncer(database_url, mode="session") as url:
        database = await Database.open(url, max_size=1)
        try:
            writer = await database.connect_writer()
            for _ in range(2):
                async with database.acquire() as pooled:
                    for connection, statement_timeout in ((writer, "30s"), (pooled, "1min")):
                        assert await connection.fetchval("SHOW synchronous_commit") == "on"
                        assert await connection.fetchval("SHOW lock_timeout") == "10s"
                        assert await connection.fetchval("SHOW statement_timeout") == statement_timeout
            writer.terminate()
        finally:
            await database.close()


@pytest.mark.parametrize(
    ("mode", "options", "said"),
    [
        ("transaction", "", "a connection pooler that does not keep sessions (transaction mode)"),
        (
            "session",
            "&options=-csearch_path%3Dpublic",
            "a connection pooler refuses what the URL asks for (unsupported startup parameter",
        ),
    ],
)
def test_what_a_pooler_does_not_keep_is_refused_at_once(
    database_url: str, data_dir: Path, mode: str, options: str, said: str
) -> None:
    with pgbouncer(database_url, mode=mode) as url:
        begun = time.monotonic()
        command = ["serve", "--database", url + options, "--data-dir", str(data_dir), "--database-wait", "60"]
        command += ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
        ran = preloaded.run([*COMMAND, *command], command_environment(), timeout_s=60)
        assert ran.returncode == 2, ran.stderr
        assert said in ran.stderr.splitlines()[-1]
        assert time.monotonic() - begun < 30
