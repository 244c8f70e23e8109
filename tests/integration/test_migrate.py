"""Migrations on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import re

import asyncpg
import pytest
import structlog

from runstream_service.database.definitions import packaged_definitions, parse_definitions
from runstream_service.database.migrate import migrate, packaged_migrations, parse_migrations
from runstream_service.database.pool import Database
from runstream_service.database.requirements import OurNames
from runstream_service.errors.startup import StartupError
from tests.support.databases import schema_of

FIRST = "-- when: before\nCREATE TABLE one (x int);"
SECOND = "-- when: after\nALTER TABLE one ADD COLUMN y int;"
TWO = parse_migrations({"0001_first.sql": FIRST, "0002_second.sql": SECOND})


@pytest.fixture
async def empty(database: Database) -> Database:
    """A database without any of runstream's objects."""
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return database


async def test_applies_files_in_order_and_records_them(empty: Database) -> None:
    assert await migrate(empty, TWO) == 2
    assert await empty.fetchval("SELECT count(*) FROM information_schema.columns WHERE table_name = 'one'") == 2
    rows = await empty.fetch("SELECT version, name, when_text FROM schema_migrations ORDER BY version")
    assert [tuple(row) for row in rows] == [(1, "first", "before"), (2, "second", "after")]


async def test_second_run_changes_nothing(empty: Database) -> None:
    await migrate(empty, TWO)
    before = await empty.fetchval("SELECT max(applied_at) FROM schema_migrations")
    await migrate(empty, TWO)
    assert await empty.fetchval("SELECT max(applied_at) FROM schema_migrations") == before


async def test_only_what_is_missing_is_applied(empty: Database) -> None:
    await migrate(empty, TWO[:1])
    await migrate(empty, TWO)
    assert await empty.fetchval("SELECT count(*) FROM schema_migrations") == 2


async def test_the_database_of_an_mlflow_server_is_left_alone(empty: Database) -> None:
    await empty.execute(
        "CREATE TABLE experiments (experiment_id serial); CREATE TABLE alembic_version (version_num text)"
    )
    with pytest.raises(StartupError, match="runstream needs a database of its own"):
        await migrate(empty)
    tables = await empty.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert [row[0] for row in tables] == ["alembic_version", "experiments"]


async def test_replicas_that_start_at_once_apply_each_file_once(empty: Database) -> None:
    await asyncio.gather(*(migrate(empty) for _ in range(6)))
    assert await empty.fetchval("SELECT count(*) FROM schema_migrations") == len(packaged_migrations())


async def test_failing_file_leaves_nothing_behind_and_releases_the_lock(empty: Database) -> None:
    broken = parse_migrations({"0001_broken.sql": "-- when: before\nCREATE TABLE one (); SELECT 1 / 0;"})
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty, broken)
    assert await empty.fetchval("SELECT to_regclass('one')") is None
    assert await migrate(empty, TWO) == 2


async def test_a_migration_does_not_make_others_wait_behind_somebody_who_reads_for_long(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream_service.database.migrate._LOCK_PAUSE_S", 0.1)
    await migrate(empty, TWO[:1])
    async with empty.acquire() as reader, empty.acquire() as other:
        async with reader.transaction():
            await reader.execute("SELECT * FROM one")
            with structlog.testing.capture_logs() as records:
                migrating = asyncio.create_task(migrate(empty, TWO))
                while not any(record["action"] == "migration_blocked" for record in records):
                    await asyncio.sleep(0.05)
                    # It waits no longer than the migration does.
                    await asyncio.wait_for(other.execute("SELECT * FROM one"), 10)
            (blocked, *_) = (record for record in records if record["action"] == "migration_blocked")
            assert blocked["pid"] == reader.get_server_pid()
        assert await asyncio.wait_for(migrating, 30) == 2


async def test_an_upgrade_that_only_added_can_be_taken_back(empty: Database) -> None:
    added = parse_migrations({"0001_first.sql": FIRST, "0002_second.sql": SECOND.replace("after", "before")})
    await migrate(empty, added)
    with structlog.testing.capture_logs() as records:
        assert await migrate(empty, added[:1]) == 2
    assert [(record["action"], record["version"], record["known"]) for record in records] == [("database_newer", 2, 1)]
    assert await migrate(empty, added) == 2


async def test_one_that_took_something_away_cannot(empty: Database) -> None:
    await migrate(empty, TWO)
    with pytest.raises(StartupError, match="schema version 2, this runstream knows only 1, and 0002_second removed"):
        await migrate(empty, TWO[:1])


async def test_changed_file_is_refused(empty: Database) -> None:
    await migrate(empty, TWO)
    changed = [dataclasses.replace(TWO[0], sql=FIRST + " "), TWO[1]]
    with pytest.raises(StartupError, match="0001_first was applied with other content"):
        await migrate(empty, changed)


async def test_pool_gets_its_timeouts_back(empty: Database) -> None:
    await migrate(empty, TWO)
    assert await empty.fetchval("SHOW statement_timeout") == "1min"


# -- functions and views ----------------------------------------------------------------------------------------------

DEFINED = """
SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS text
  FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace
UNION ALL
SELECT c.relname, pg_get_viewdef(c.oid) || coalesce(obj_description(c.oid), '')
  FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v'
 ORDER BY 1
"""


async def test_every_function_and_view_has_the_text_of_its_file(database: Database) -> None:
    in_database = await database.fetch(DEFINED)
    definitions = packaged_definitions()
    assert {row["name"].partition("(")[0] for row in in_database} == set(definitions)
    for definition in definitions.values():
        await database.execute(definition.statements)
    assert await database.fetch(DEFINED) == in_database


async def test_a_function_whose_text_is_not_that_of_its_file_is_found(database: Database) -> None:
    in_database = await database.fetch(DEFINED)
    statements = packaged_definitions()["open_producer"].statements
    await database.execute(statements.replace("session = p.session + 1", "session = p.session"))
    assert await database.fetch(DEFINED) != in_database


def test_names_that_only_files_of_functions_have_are_ours() -> None:
    names = OurNames.created_by(migration.statements for migration in packaged_migrations())
    assert names.functions | names.relations >= packaged_definitions().keys()


async def test_a_database_of_any_version_becomes_the_same_as_a_new_one(empty: Database, database_url: str) -> None:
    schemas = {}
    for version in range(len(packaged_migrations())):
        await empty.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await migrate(empty, packaged_migrations()[:version])
        await migrate(empty)
        schemas[version] = schema_of(database_url)
    assert [version for version, schema in schemas.items() if schema != schemas[0]] == []


def test_files_that_databases_have_applied_are_as_they_were() -> None:
    texts = "".join(migration.sql for migration in packaged_migrations()[:15])
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "ccd454c915563855"


def test_migrations_call_no_function_whose_text_they_do_not_have() -> None:
    """It may be installed by a later migration only. What it did is then written out (CONTRIBUTING.md)."""
    for migration in packaged_migrations()[15:]:
        created = OurNames.created_by([migration.sql]).functions
        sql = re.sub(r"(?m)^(--|DROP FUNCTION).*", "", migration.sql)
        called = {name for name in packaged_definitions() if re.search(rf"\b{name}\s*\(", sql)}
        assert called <= created, migration.name


async def test_a_function_that_changed(empty: Database) -> None:
    """One in SQL, which PostgreSQL accepts only when the columns that it names are there."""
    create = "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT {} FROM one';\n"
    x, y = (parse_definitions({"functions/f.sql": create.format(column)}) for column in "xy")
    first = f"{FIRST}\nINSERT INTO one VALUES (1);\n-- install: f {x['f'].fingerprint}\n"
    second = f"-- when: before\nALTER TABLE one ADD y int DEFAULT 2;\n-- install: f {y['f'].fingerprint}\n"
    older = parse_migrations({"0001_first.sql": first}, x)
    newer = parse_migrations({"0001_first.sql": first, "0002_second.sql": second}, y)

    await migrate(empty, older)
    assert await empty.fetchval("SELECT f()") == 1
    await migrate(empty, newer)
    assert await empty.fetchval("SELECT f()") == 2
    await migrate(empty, older)  # a replica of the release before starts again, in the middle of the upgrade
    assert await empty.fetchval("SELECT f()") == 2

    await empty.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await migrate(empty, newer)
    assert await empty.fetchval("SELECT f()") == 2


def test_packaged_files_are_well_formed() -> None:
    assert packaged_migrations()[0].name == "initial"


def test_two_files_with_one_number_are_both_named() -> None:
    with pytest.raises(ValueError, match=r"0002_second.sql and 0002_third.sql have the same number"):
        parse_migrations({"0001_first.sql": FIRST, "0002_second.sql": SECOND, "0002_third.sql": SECOND})


@pytest.mark.parametrize(
    "files",
    [
        {"0001_a.sql": "CREATE TABLE x ();"},
        {"0001_a.sql": "-- when: sometime\n"},
        {"1_a.sql": FIRST},
        {"0002_a.sql": FIRST},
    ],
)
def test_files_of_a_wrong_form_are_refused(files: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"migration|must be"):
        parse_migrations(files)
