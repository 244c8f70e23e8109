"""A publication of all tables, as replication services make it, stops neither roll-up nor purge nor retention."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

import runstream
from runstream_service.database.embedded import EmbeddedPostgres
from tests.support import preloaded
from tests.support.databases import FAST, short_directory
from tests.support.serve import COMMAND, ServeProcess, command_environment

# Changed or deleted rows of such a table are refused when a publication covers it.
WITHOUT_IDENTITY = """
SELECT c.relname::text FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relreplident = 'd'
   AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
"""


async def test_points_are_rolled_up_merged_and_purged(data_dir: Path) -> None:
    with short_directory() as directory:
        postgres = EmbeddedPostgres(directory, options={**FAST, "wal_level": "logical"})
        await postgres.start()
        connection = await asyncpg.connect(postgres.url)
        try:
            await connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
            often = ["--epoch-seconds", "1", "--max-read-age", "1"]
            with ServeProcess(data_dir, arguments=["--database", postgres.url, *often]) as serve:
                await asyncio.to_thread(_log_and_delete, serve)
                serve.wait_for_action("epoch_dropped", timeout_s=60)
                assert await connection.fetch(WITHOUT_IDENTITY) == []
                command = [*COMMAND, "gc", "--database", postgres.url, "--purge-after-days", "0"]
                for _ in range(60):
                    ran = preloaded.run(command, command_environment())
                    assert ran.returncode == 0, ran.stderr
                    if not await connection.fetchval("SELECT count(*) FROM metric_points"):
                        break
                    await asyncio.sleep(0.5)
                assert await connection.fetchval("SELECT count(*) FROM metric_points") == 0
                assert "rollup_failed" not in serve.actions(), serve.stderr
                assert "retention_failed" not in serve.actions(), serve.stderr
        finally:
            await connection.close()
            await postgres.stop()


def _log_and_delete(serve: ServeProcess) -> None:
    """A run whose only series is deleted, and one that is deleted itself, in segments that have been merged."""
    with runstream.Client(serve.grpc_address) as client:
        runs = [runstream.start_run("published", str(number), address=serve.grpc_address) for number in range(2)]
        for epoch in range(3):
            for run in runs:
                run.log({"loss": float(epoch)}, step=epoch)
                assert run.flush(30)
            serve.wait_for_action("epoch_rolled", count=epoch + 1)
        for run in runs:
            run.finish()
        serve.wait_for_action("series_merged", timeout_s=60)
        client.delete_series(runs[0].run_id, ["loss"])
        client.delete_run(runs[1].run_id)
