"""The pool, the writer's session and the translation of the driver's exceptions, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from runstream_service.database import connections
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.pool import Database, is_data_error, translate
from runstream_service.errors.core import CoreError, DatabaseUnavailable
from tests.support.databases import with_database


async def test_writer_session_has_durable_commits_and_short_timeouts(database: Database) -> None:
    writer = await database.connect_writer()
    names = ["synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    names += ["application_name", "transaction_isolation", "fsync"]
    settings = {name: await writer.fetchval(f"SHOW {name}") for name in names}
    await writer.close()
    assert settings.pop("fsync") == "off"  # this session's server; see test_embedded for the default
    assert settings == {
        "synchronous_commit": "on",
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "15s",
        "application_name": "runstream-writer",
        "transaction_isolation": "read committed",
    }


async def test_a_connection_that_was_lost_before_its_first_use_is_an_unavailable_database(database: Database) -> None:
    writer = await database.connect_writer()
    writer.terminate()
    while not writer.is_closed() or writer._transport.get_extra_info("socket").fileno() >= 0:  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
    with pytest.raises(ConnectionError, match="lost at once") as lost:
        connections._watch_socket(writer)  # type: ignore[arg-type]
    assert isinstance(translate(lost.value), DatabaseUnavailable)


async def test_pool_recovers_after_all_its_connections_were_terminated(database: Database) -> None:
    async with database.acquire() as first, database.acquire() as second:
        pids = [first.get_server_pid(), second.get_server_pid()]
    async with database.acquire() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid = ANY ($1) AND pid <> pg_backend_pid()",
            pids,
        )
    for _ in range(3):
        try:
            await database.ping()
            break
        except DatabaseUnavailable:
            continue  # the first use may find the connection that died unnoticed
    assert await database.fetchval("SELECT 40 + 2") == 42


async def test_terminated_query_is_database_unavailable(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert isinstance(caught.value.__cause__, asyncpg.PostgresError)


@pytest.mark.parametrize(
    "statement",
    [
        "SET statement_timeout = 20; SELECT pg_sleep(5)",
        "DO $$ BEGIN RAISE 'x' USING ERRCODE = '53100'; END $$",
        "DO $$ BEGIN RAISE 'x' USING ERRCODE = '40P01'; END $$",
        "DO $$ BEGIN RAISE 'x' USING ERRCODE = '57P01'; END $$",
        "DO $$ BEGIN RAISE 'x' USING ERRCODE = '08006'; END $$",
        "SET transaction_read_only = on; CREATE TABLE x ()",
    ],
)
async def test_what_may_succeed_later_is_database_unavailable(database: Database, statement: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        await database.execute(statement)


async def test_lock_timeout_is_database_unavailable(database: Database) -> None:
    async with database.transaction() as holder:
        await holder.execute("LOCK TABLE runs")
        with pytest.raises(DatabaseUnavailable):
            await database.execute("SET lock_timeout = 20; LOCK TABLE runs")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO workspaces (workspace_id, name) VALUES (1, 'again')",
        "SELECT 1 / 0",
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES (gen_random_uuid(), 99, '', now())",
    ],
)
async def test_refused_data_is_a_data_error_and_not_unavailability(database: Database, statement: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await database.execute(statement)
    assert is_data_error(caught.value)
    assert translate(caught.value) is None


async def test_bugs_of_the_service_are_not_disguised(database: Database) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError) as caught:
        await database.execute("SELEC 1")
    assert translate(caught.value) is None
    assert not is_data_error(caught.value)


async def test_core_errors_pass_through_unchanged(database: Database) -> None:
    original = CoreError("mine")
    with pytest.raises(CoreError) as caught:
        async with database.transaction():
            raise original
    assert caught.value is original
    assert translate(original) is original


async def test_missing_server_and_missing_database_are_database_unavailable(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(DatabaseUnavailable):
        await Database.open("postgresql://postgres@/x?host=/nonexistent")
    with pytest.raises(DatabaseUnavailable):
        await Database.open("postgresql://postgres@127.0.0.1:1/x")
    with pytest.raises(DatabaseUnavailable):
        await Database.open(with_database(postgres.url, "missing"))


async def test_pool_size_is_reported(database: Database) -> None:
    assert (database.size, database.in_use) == (1, 0)
    async with database.acquire(), database.acquire():
        assert (database.size, database.in_use) == (2, 2)


async def test_closing_cuts_off_a_query_that_hangs(database_url: str) -> None:
    database = await Database.open(database_url)
    hanging = asyncio.create_task(database.execute("SELECT pg_sleep(60)"))
    while database.in_use == 0:
        await asyncio.sleep(0)
    await database.close(within_s=0.05)
    with pytest.raises(DatabaseUnavailable):
        await hanging
