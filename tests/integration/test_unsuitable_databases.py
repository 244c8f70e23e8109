"""Unsuitable databases are refused at the start, with one sentence that says what to do, and stay as they were."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

import runstream
from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.migrate import migrate, packaged_migrations
from runstream_service.database.pool import Database
from runstream_service.errors.startup import StartupError
from tests.support import preloaded
from tests.support.databases import with_database
from tests.support.serve import COMMAND, ServeProcess, command_environment

_numbers = itertools.count(1)


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser in a database that holds nothing."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public")
    yield connection
    await connection.close()


@pytest.fixture
async def roles(admin: asyncpg.Connection) -> AsyncIterator[Iterator[str]]:
    """Makes roles that can log in, and drops them afterwards."""
    made = []

    def names() -> Iterator[str]:
        while True:
            made.append(f"role_{os.getpid()}_{next(_numbers)}")
            yield made[-1]

    yield names()
    for role in made:
        await admin.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def as_role(url: str, role: str, options: str = "") -> str:
    changed = url.replace("postgres@", f"{role}@", 1)
    return f"{changed}&options={quote(options, safe='')}" if options else changed


async def migrated(url: str) -> int:
    database = await Database.open(url, max_size=1)
    try:
        return await migrate(database)
    finally:
        await database.close()


async def refusal(url: str) -> str:
    with pytest.raises(StartupError) as caught:
        await migrated(url)
    assert (caught.value.setting, caught.value.exit_code) == ("--database", 2)
    assert "\n" not in str(caught.value)
    return caught.value.message


async def relations(admin: asyncpg.Connection) -> list[str]:
    found = await admin.fetch(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    return [row[0] for row in found]


async def test_a_role_that_may_not_create_tables(admin: asyncpg.Connection, roles: Iterator[str], database_url) -> None:
    role = next(roles)
    await admin.execute(f"CREATE ROLE {role} LOGIN")
    assert f"GRANT CREATE ON SCHEMA public TO {role}" in await refusal(as_role(database_url, role))
    await admin.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    assert await migrated(as_role(database_url, role)) == len(packaged_migrations())
    await admin.execute(f"REVOKE CREATE ON SCHEMA public FROM {role}")
    assert "may not create tables in the schema public" in await refusal(as_role(database_url, role))


async def test_a_search_path_of_which_nothing_exists(admin: asyncpg.Connection, database_url: str) -> None:
    url = f"{database_url}&options=-csearch_path%3Dapp"
    message = await refusal(url)
    assert "no schema of the search_path app exists" in message
    assert "CREATE SCHEMA" in message
    await admin.execute("CREATE SCHEMA app")
    assert await migrated(url) == len(packaged_migrations())
    assert await relations(admin) == []


async def test_a_schema_that_comes_before_the_one_with_our_tables(admin: asyncpg.Connection, database_url: str) -> None:
    await migrated(database_url)
    await admin.execute("CREATE SCHEMA postgres")  # of the name of the user: first in the default search path
    message = await refusal(database_url)
    assert "the tables of runstream are in the schema public" in message
    url = f"{database_url}&options=-csearch_path%3Dpublic"
    assert "options=-csearch_path%3Dpublic" in message
    assert await migrated(url) == len(packaged_migrations())


async def test_a_role_with_all_rights_that_owns_nothing(admin, roles: Iterator[str], database_url: str) -> None:
    owner, other = next(roles), next(roles)
    await admin.execute(f"CREATE ROLE {owner} LOGIN; CREATE ROLE {other} LOGIN")
    await admin.execute(f"GRANT ALL ON SCHEMA public TO {owner}, {other}")
    await migrated(as_role(database_url, owner))
    await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {other}")
    message = await refusal(as_role(database_url, other))
    assert f"belongs to {owner}, and the user {other} is not a member" in message
    assert f"GRANT {owner} TO {other}" in message
    await admin.execute(f"GRANT {owner} TO {other}")
    assert await migrated(as_role(database_url, other)) == len(packaged_migrations())


async def test_users_that_change_work_as_one_owner(admin, roles: Iterator[str], database_url: str) -> None:
    owner, first, second = next(roles), next(roles), next(roles)
    await admin.execute(f"CREATE ROLE {owner}; GRANT ALL ON SCHEMA public TO {owner}")
    for role in (first, second):
        await admin.execute(f"CREATE ROLE {role} LOGIN IN ROLE {owner}")
    for role in (first, second):
        assert await migrated(as_role(database_url, role, f"-crole={owner}")) == len(packaged_migrations())
    await admin.execute(f"ALTER ROLE {second} SET role = {owner}")
    database = await Database.open(as_role(database_url, second), max_size=1)
    try:
        for _ in range(2):  # also after the pool has reset it
            assert await database.fetchval("SELECT current_user::text") == owner
        await database.ping()
        assert await migrate(database) == len(packaged_migrations())
    finally:
        await database.close()
    owners = await admin.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert [row[0] for row in owners] == [owner]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean)", "a relation schema_migrations"),
        ("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)", "a relation schema_migrations"),
        ("CREATE TABLE runs (id int)", "a relation runs"),
        ("CREATE VIEW tags AS SELECT 1 AS x", "a relation tags"),
        ("CREATE TABLE x (y int); CREATE INDEX runs_by_start ON x (y)", "a relation runs_by_start"),
        ("CREATE SEQUENCE commits", "a relation commits"),
        ("CREATE TYPE params AS ENUM ('a')", "a type params"),
        ("CREATE FUNCTION open_producer() RETURNS int LANGUAGE sql AS 'SELECT 1'", "a function open_producer"),
        ("CREATE TABLE experiments (x int); CREATE TABLE alembic_version (v text)", "is it that of an MLflow server?"),
    ],
)
async def test_names_that_somebody_else_took(
    admin: asyncpg.Connection, database_url: str, made: str, said: str
) -> None:
    await admin.execute(made)
    before = await relations(admin)
    message = await refusal(database_url)
    assert said in message
    assert "CREATE DATABASE runstream" in message
    assert await relations(admin) == before


async def test_names_of_others_in_another_schema_are_no_concern(admin: asyncpg.Connection, database_url: str) -> None:
    await admin.execute(
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean); CREATE SCHEMA ours"
    )
    url = f"{database_url}&options=-csearch_path%3Dours%2Cpublic"
    assert await migrated(url) == len(packaged_migrations())
    assert await migrated(url) == len(packaged_migrations())


async def test_a_name_that_a_later_migration_wants(admin: asyncpg.Connection, database_url: str) -> None:
    database = await Database.open(database_url, max_size=1)
    try:
        await migrate(database, packaged_migrations()[:3])
        await admin.execute("CREATE TABLE http_writes (x int)")
        with pytest.raises(
            StartupError, match=r"refuses migration 0004_mlflow, of which nothing was done: .*http_writes"
        ):
            await migrate(database)
    finally:
        await database.close()


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE metric_points (x int)",
        "CREATE VIEW metric_points AS SELECT 1 AS x",
        "CREATE FUNCTION create_hot_partition(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ],
)
async def test_something_else_where_a_view_or_a_function_was(
    admin: asyncpg.Connection, database_url: str, made: str
) -> None:
    database = await Database.open(database_url, max_size=1)
    try:
        await migrate(database, packaged_migrations()[:15])
        await admin.execute("DROP VIEW metric_points; DROP FUNCTION create_hot_partition")
        await admin.execute(made)
    finally:
        await database.close()
    assert "refuses migration 0017_hot_batches, of which nothing was done: " in await refusal(database_url)


async def test_an_encoding_that_cannot_store_every_text(admin: asyncpg.Connection, database_url: str) -> None:
    # A database with another encoding may be copied only from one of this name, which the tests' clusters do not have.
    await admin.execute("CREATE DATABASE template0 TEMPLATE template1")
    await admin.execute("UPDATE pg_database SET datcollversion = NULL WHERE datname = 'template0'")
    await admin.execute(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc"
    )
    try:
        assert "encoding LATIN1" in await refusal(with_database(database_url, "latin"))
    finally:
        await admin.execute("DROP DATABASE latin WITH (FORCE)")
        await admin.execute("DROP DATABASE template0")


async def test_unlogged_tables(admin: asyncpg.Connection, database_url: str) -> None:
    await migrated(database_url)
    await admin.execute("ALTER TABLE hot_batches_1 SET UNLOGGED")
    assert "ALTER TABLE hot_batches_1 SET LOGGED" in await refusal(database_url)


async def test_foreign_keys_that_are_not_checked(admin: asyncpg.Connection, database_url: str) -> None:
    message = await refusal(f"{database_url}&options=-csession_replication_role%3Dreplica")
    assert "RESET session_replication_role" in message


async def test_what_the_role_and_the_database_set_does_not_hold_for_us(
    admin: asyncpg.Connection, roles: Iterator[str], database_url: str
) -> None:
    role, name = next(roles), await admin.fetchval("SELECT current_database()")
    await admin.execute(f"CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}")
    await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    await admin.execute(f"ALTER ROLE {role} SET statement_timeout = 0; ALTER ROLE {role} SET lock_timeout = 0")
    await admin.execute(f"ALTER ROLE {role} SET idle_in_transaction_session_timeout = 0")
    await admin.execute(
        f"ALTER ROLE {role} SET idle_session_timeout = '1s'; ALTER ROLE {role} SET timezone = 'Asia/Tokyo'"
    )
    database = await Database.open(as_role(database_url, role), max_size=1)
    try:
        for connection in (await database.connect_writer(), await database.connect_rollup()):
            shown = {name: await connection.fetchval(f"SHOW {name}") for name in ("synchronous_commit", "lock_timeout")}
            assert shown == {"synchronous_commit": "on", "lock_timeout": "10s"}
            connection.terminate()
        for _ in range(2):  # also after the pool has reset it
            async with database.acquire() as pooled:
                assert await pooled.fetchval("SHOW statement_timeout") == "1min"
                assert await pooled.fetchval("SHOW synchronous_commit") == "on"
                assert await pooled.fetchval("SHOW default_transaction_isolation") == "read committed"
                assert await pooled.fetchval("SHOW idle_session_timeout") == "0"
                assert await pooled.fetchval("SHOW timezone") == "UTC"
    finally:
        await database.close()


def commands(url: str, data_dir: Path) -> dict[str, list[str]]:
    ports = ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--database-wait", "20"]
    return {
        "serve": ["serve", *ports, "--data-dir", str(data_dir), "--database", url],
        "status": ["status", "--database", url],
        "gc": ["gc", "--database", url],
    }


@pytest.mark.parametrize("command", ["serve", "status", "gc"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: "mysql://u:hunter2@db/x", "the URL must begin with postgresql://; its scheme is 'mysql'"),
        (lambda url: f"{url}&pgbouncer=true", "pgbouncer is no parameter of PostgreSQL's URLs"),
        (lambda url: f"{url}&sslmode=verify-ca&sslrootcert=/no/ca", "cannot read the file /no/ca of sslrootcert"),
        (lambda url: with_database(url, "missing"), "cannot connect: PostgreSQL: database \"missing\" does not exist"),
        (lambda url: f"{url}&sslmode=sometimes", "sslmode"),
    ],
    ids=["scheme", "parameter", "file", "database", "sslmode"],
)  # fmt: skip
def test_every_command_says_the_same_in_one_line_and_waits_for_nothing(
    postgres: EmbeddedPostgres, data_dir: Path, command: str, change, said: str
) -> None:
    environment = command_environment({"RUNSTREAM_DATABASE_WAIT": "280"})  # longer than this test may take
    ran = preloaded.run([*COMMAND, *commands(change(postgres.url), data_dir)[command]], environment, timeout_s=120)
    lines = [line for line in ran.stderr.splitlines() if not line.startswith(("{", "20"))]
    assert ran.returncode == 2, ran.stderr
    assert len(lines) == 1, ran.stderr
    assert lines[0].startswith("runstream: --database (RUNSTREAM_DATABASE): ")
    assert said in lines[0]
    assert "hunter2" not in ran.stderr


async def test_parameters_of_libpq_are_taken_and_those_without_effect_named(database_url: str, data_dir: Path) -> None:
    parameters = "channel_binding=prefer&connect_timeout=10&keepalives=1&keepalives_idle=5&fallback_application_name=x"
    with ServeProcess(data_dir, arguments=["--database", f"{database_url}&{parameters}"]) as serve:
        record = serve.wait_for_action("database_url_parameters_ignored")
        assert record["parameters"] == [part.partition("=")[0] for part in parameters.split("&")]
        assert "database_not_durable" in serve.actions(), "fsync is off in the tests' server"


async def test_a_right_that_is_taken_away_later_is_named_and_given_back(
    admin: asyncpg.Connection, roles: Iterator[str], database_url: str, data_dir: Path
) -> None:
    role = next(roles)
    await admin.execute(f"CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}")
    url = as_role(database_url, role)
    with (
        ServeProcess(data_dir, arguments=["--database", url, "--epoch-seconds", "1"]) as serve,
        runstream.start_run("rights", "taken", address=serve.grpc_address) as run,
    ):
        await admin.execute(f"REVOKE CREATE ON SCHEMA public FROM {role}")
        run.log({"loss": 1.0}, step=1)
        assert run.flush(30)
        failed = await asyncio.to_thread(serve.wait_for_action, "rollup_failed", timeout_s=60)
        assert "GRANT CREATE" in failed["message"]
        await admin.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        await asyncio.to_thread(serve.wait_for_action, "epoch_rolled", timeout_s=60)
