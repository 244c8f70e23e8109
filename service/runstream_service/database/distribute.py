"""Distributes the two tables of points of a database over the workers of its Citus cluster, step by step.

Each step is one transaction and knows whether it is done, so the command may be interrupted at any time and run again.
The service has to be stopped meanwhile; it refuses a database that is half distributed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from runstream_service.database import layout
from runstream_service.database.external import open_at_once
from runstream_service.database.migrate import ADVISORY_LOCK, migrate, packaged_migrations
from runstream_service.errors.startup import StartupError

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection

OLDEST_CITUS = 13
DEFAULT_SHARDS = 32
# Each epoch creates a table for each shard of hot_batches, and drops it a minute or two later. That takes 20 to 30 ms
# each, so hot_batches has fewer shards. They are still spread over the workers.
HOT_SHARDS_DIVISOR = 4
# The functions that the view metric_points calls on the workers, each after those that it calls itself.
_FUNCTIONS = ["bigint_at", "double_at", "hot_points"]
# Counts of each table that must be the same before and after: its rows, and the points in them.
_COUNTS = {
    "metric_segments": "SELECT count(*) AS rows, coalesce(sum(point_count), 0)::bigint AS content FROM metric_segments",
    "hot_batches": "SELECT count(*) AS rows, coalesce(sum(length(points)), 0)::bigint AS content FROM hot_batches",
}


@dataclass(frozen=True, slots=True)
class Worker:
    """A node of the cluster that takes shards."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction. `plan` says what it will do, `run` returns what it did."""

    plan: str
    run: Callable[[Connection], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps that are left to do."""

    workers: list[Worker]
    needs_schema: bool  # the tables are not there yet, or are those of an earlier release
    steps: list[Step]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.needs_schema and not self.steps

    @property
    def descriptions(self) -> list[str]:
        """One line for each step, in order."""
        schema = ["make the tables of this release"] if self.needs_schema else []
        return schema + [step.plan for step in self.steps]


async def distribute(url: str, *, shards: int, agree: Callable[[Plan], bool], report: Callable[[str], None]) -> None:
    """Makes a plan, and carries it out if `agree` returns True for it; calls `report` after each step.

    Raises:
        StartupError: a step cannot be done; steps that were reported are. The message says what to do first.
        DatabaseUnavailable: the database does not answer.
    """
    database = await open_at_once(url, max_size=1)
    try:
        connection = await database.connect_migration()
        try:
            plan = await make_plan(connection, shards)
            if not agree(plan):
                return
            if plan.needs_schema:
                report(f"the database has the tables of this release (schema version {await migrate(database)})")
            await _lock_out_services(connection)
            for step in plan.steps:
                report(await step.run(connection))
        finally:
            connection.terminate()  # with its lock
    finally:
        await database.close()


async def make_plan(connection: Connection, shards: int) -> Plan:
    """Checks that the cluster can take the tables, and lists the steps that are not done. Changes nothing.

    Raises:
        StartupError: with what to do first.
    """
    await _check_extension(connection)
    workers = await _workers(connection)
    await _check_workers(connection)
    await _check_rights(connection)
    await _check_that_no_service_runs(connection)
    return Plan(workers, await _needs_schema(connection), [step async for step in _missing_steps(connection, shards)])


async def _lock_out_services(connection: Connection) -> None:
    """Keeps services from starting until the connection is closed, as migrate() waits for the same lock. Then checks
    again that none has started since the plan was made."""
    try:
        await connection.execute("SET lock_timeout = '10s'")
        await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        await connection.execute("SET lock_timeout = 0")
    except asyncpg.LockNotAvailableError as error:
        raise _refusal(
            "a service is starting on this database, or another `runstream distribute` is running; stop it, and try "
            "again"
        ) from error
    await _check_that_no_service_runs(connection)


async def _needs_schema(connection: Connection) -> bool:
    if await connection.fetchval("SELECT to_regclass('schema_migrations') IS NULL"):
        return True
    version: int | None = await connection.fetchval("SELECT max(version) FROM schema_migrations")
    return (version or 0) < len(packaged_migrations())


# -- checks ------------------------------------------------------------------------------------------------------------


async def _check_extension(connection: Connection) -> None:
    if not await layout.has_citus(connection):
        raise _refusal(
            "the database has no extension citus, so there is nothing to distribute to. Install Citus on this server "
            "and on each worker (shared_preload_libraries = 'citus'), run CREATE EXTENSION citus in the database on "
            "each of them, and register the workers here: SELECT citus_add_node('worker-1', 5432) (docs/citus.md)"
        )
    version = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'citus'")
    if int(version.partition(".")[0]) < OLDEST_CITUS:
        raise _refusal(f"the database has Citus {version}; runstream needs {OLDEST_CITUS} or newer")
    if await connection.fetchval("SELECT groupid FROM pg_dist_local_group"):
        raise _refusal("this server is a worker of the cluster; give the URL of the coordinator")


async def _workers(connection: Connection) -> list[Worker]:
    rows = await connection.fetch(
        "SELECT nodename, nodeport FROM pg_dist_node "
        "WHERE isactive AND shouldhaveshards AND noderole = 'primary' ORDER BY nodename, nodeport"
    )
    if not rows:
        raise _refusal(
            "no worker is registered in the cluster; on the coordinator, in this database, run "
            "SELECT citus_add_node('worker-1', 5432) for each worker (docs/citus.md)"
        )
    return [Worker(*row) for row in rows]


async def _check_workers(connection: Connection) -> None:
    """Checks that workers allow prepared transactions, which transactions on several nodes need. PostgreSQL does not
    allow them by default."""
    for host, port, success, result in await connection.fetch(
        "SELECT nodename, nodeport, success, result "
        "FROM run_command_on_workers($$SELECT current_setting('max_prepared_transactions')$$)"
    ):
        worker = Worker(host, port)
        if not success:
            raise _refusal(f"the worker {worker} does not answer the coordinator: {' '.join(result.split())}")
        if not int(result):
            raise _refusal(
                f"the worker {worker} has max_prepared_transactions = 0, so no transaction can be on several nodes; "
                "set it to at least max_connections of the coordinator, and restart the worker"
            )


async def _check_rights(connection: Connection) -> None:
    if missing := await layout.missing_right(connection):
        raise _refusal(missing)


async def _check_that_no_service_runs(connection: Connection) -> None:
    """Checks that no service is running: it would go on as if the points were in one PostgreSQL."""
    replicas = await connection.fetch(
        "SELECT DISTINCT split_part(application_name, '/', 2) AS replica FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'runstream%/%' ORDER BY replica"
    )
    if replicas:
        names = ", ".join(row["replica"] for row in replicas)
        raise _refusal(
            f"services are running on this database ({names}); stop all replicas first, and start them after it"
        )


# -- steps -------------------------------------------------------------------------------------------------------------


async def _missing_steps(connection: Connection, shards: int) -> AsyncIterator[Step]:
    if not await connection.fetchval(_HAVE_FUNCTIONS, _FUNCTIONS):
        yield _FUNCTIONS_STEP
    distributed = await layout.distributed_tables(connection)
    for table, count in (("metric_segments", shards), ("hot_batches", max(1, shards // HOT_SHARDS_DIVISOR))):
        local = await connection.fetchrow(_LOCAL, table)
        assert local is not None
        if table not in distributed:
            yield _table_step(table, count, local["bytes"])
        if local["has_rows"]:
            yield _truncate_step(table, local["bytes"])


_HAVE_FUNCTIONS = """
SELECT bool_and(EXISTS (SELECT FROM pg_catalog.pg_dist_object
                         WHERE classid = 'pg_proc'::regclass AND objid = to_regproc(f.name)))
  FROM unnest($1::text[]) AS f (name)
"""
# Of a table with its partitions, on the coordinator: whether it has rows, and its bytes. A distributed table has only
# those that were not truncated yet.
_LOCAL = """
SELECT coalesce(sum(pg_relation_size(relid)), 0) > 0 AS has_rows,
       coalesce(sum(pg_total_relation_size(relid)), 0)::bigint AS bytes
  FROM (SELECT to_regclass($1)::oid AS relid
        UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1)) here
"""


async def _create_functions(connection: Connection) -> str:
    for function in _FUNCTIONS:
        await connection.execute("SELECT create_distributed_function($1::text::regproc::oid::regprocedure)", function)
    return "the workers have the functions of the view metric_points"


_FUNCTIONS_STEP = Step("create the functions of the view metric_points on the workers", _create_functions)


def _table_step(table: str, shards: int, size_bytes: int) -> Step:
    column = layout.DISTRIBUTED_TABLES[table]

    async def run(connection: Connection) -> str:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            before = await connection.fetchrow(_COUNTS[table])
            await connection.execute(f"SET LOCAL citus.shard_count = {shards:d}")
            await connection.execute(f"SELECT create_distributed_table('{table}', '{column}', colocate_with => 'none')")
            after = await connection.fetchrow(_COUNTS[table])
            assert before is not None
            if before != after:
                raise StartupError(
                    f"{table} had {before['rows']:,} rows before it was distributed, and {after and after['rows']:,} "
                    "after it, or other points in them; nothing was changed. This is a bug: please report it",
                    exit_code=1,
                )
        return f"{table} is distributed: {before['rows']:,} rows in {shards} shards by {column}"

    return Step(
        f"distribute {table} by {column} in {shards} shards: copy {_megabytes(size_bytes)} to the workers",
        run,
    )


def _truncate_step(table: str, size_bytes: int) -> Step:
    async def run(connection: Connection) -> str:
        await connection.execute(f"SELECT truncate_local_data_after_distributing_table('{table}')")
        return f"the coordinator's copy of {table} is deleted: {_megabytes(size_bytes)}"

    return Step(f"delete the coordinator's copy of {table}: {_megabytes(size_bytes)}", run)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _refusal(message: str) -> StartupError:
    return StartupError(message, setting="--database")
