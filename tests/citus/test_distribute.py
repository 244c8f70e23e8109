"""`runstream distribute`: what it refuses, what it does, and that it may die after any step."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import asyncpg
import pytest

from runstream_service.database import distribute
from runstream_service.database.definitions import packaged_definitions
from runstream_service.database.distribute import Plan
from runstream_service.database.external import open_external
from runstream_service.database.layout import DISTRIBUTED, ONE_POSTGRES
from runstream_service.database.migrate import Migration, migrate, packaged_migrations
from runstream_service.database.pool import Database, layout_of
from runstream_service.database.replica import ReplicaId
from runstream_service.errors.startup import StartupError
from tests.support.citus import SHARDS, CitusCluster, name_of
from tests.support.stored import make_run, prepare, put

POINTS = "SELECT run_id, key, step, time, value FROM metric_points ORDER BY run_id, key, step, time, value"


async def carry_out(url: str, *, dies_after: int | None = None) -> list[str]:
    """Distributes; returns what was reported."""
    reported: list[str] = []

    def report(line: str) -> None:
        reported.append(line)
        if len(reported) == dies_after:
            raise KeyboardInterrupt

    await distribute.distribute(url, shards=SHARDS, agree=lambda _: True, report=report)
    return reported


async def does_nothing(url: str) -> bool:
    plans: list[Plan] = []

    def look(plan: Plan) -> bool:
        plans.append(plan)
        return False

    await distribute.distribute(url, shards=SHARDS, agree=look, report=pytest.fail)
    return plans[0].is_done


async def opened_by_a_service(url: str) -> Database:
    return await open_external(url, pool_size=2, wait_s=1, replica=ReplicaId.of_this_process("test"))


async def fill(url: str) -> list[Any]:
    """Two series with segments and hot batches, in a database that is not distributed; returns its points."""
    database = await Database.open(url, max_size=2)
    await migrate(database)
    await prepare(database)
    run_id = await make_run(database)
    for key in ("a", "b"):
        segments = [[(step, step * 1_000, step / 7) for step in range(first, first + 500)] for first in (0, 500)]
        await put(database, run_id, key, segments=segments, hot=[(step, step, 1.5) for step in range(1_000, 1_400)])
    points = await database.fetch(POINTS)
    await database.close()
    assert len(points) == 2 * 1_400
    return points


async def test_a_database_without_the_extension_is_refused_with_what_to_do(cluster: CitusCluster):
    async with cluster.plain_database() as url:
        with pytest.raises(StartupError, match=r"no extension citus.*CREATE EXTENSION citus.*citus_add_node"):
            await carry_out(url)


async def test_a_cluster_without_workers_and_a_worker_are_refused(cluster: CitusCluster):
    async with cluster.plain_database() as url:
        await cluster.add_extension(name_of(url), register=False)
        with pytest.raises(StartupError, match=r"no worker is registered.*citus_add_node"):
            await carry_out(url)
        await cluster.register(name_of(url))
        with pytest.raises(StartupError, match="give the URL of the coordinator"):
            await carry_out(cluster.urls(name_of(url))[1])


async def test_a_database_with_a_running_service_is_refused(database_url: str):
    service = await opened_by_a_service(database_url)
    try:
        with pytest.raises(StartupError, match="stop all replicas first"):
            await carry_out(database_url)
    finally:
        await service.close()


async def test_nothing_is_done_without_consent(cluster: CitusCluster):
    plans: list[Plan] = []

    def refuse(plan: Plan) -> bool:
        plans.append(plan)
        return False

    async with cluster.plain_database() as url:
        await cluster.add_extension(name_of(url))
        await distribute.distribute(url, shards=SHARDS, agree=refuse, report=pytest.fail)
        (plan,) = plans
        assert len(plan.workers) == len(cluster.workers)
        assert len(plan.descriptions) == 4
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT to_regclass('experiments') IS NULL")
        await connection.close()


async def test_it_may_die_after_any_step_and_keeps_every_point(cluster: CitusCluster):
    async with cluster.plain_database() as url:
        points = await fill(url)
        await cluster.add_extension(name_of(url))
        deaths = 0
        while not await does_nothing(url):
            deaths += 1
            with pytest.raises(KeyboardInterrupt):
                await carry_out(url, dies_after=1)
            reader = await asyncpg.connect(url)
            assert await reader.fetch(POINTS) == points
            await reader.close()
        assert deaths == 5  # functions, and two tables of which each is copied and then deleted here
        database = await opened_by_a_service(url)
        assert await database.fetch(POINTS) == points
        sizes = await database.fetchrow(
            "SELECT (SELECT count(*) FROM citus_shards WHERE table_name = 'metric_segments'::regclass) AS segments, "
            "(SELECT count(*) FROM citus_shards WHERE table_name = 'hot_batches_2'::regclass) AS batches, "
            "pg_relation_size('metric_segments') + pg_relation_size('hot_batches_2') AS left_here"
        )
        assert tuple(sizes or ()) == (SHARDS, SHARDS // distribute.HOT_SHARDS_DIVISOR, 0)
        await database.close()


async def test_a_half_distributed_database_is_refused_by_a_service(cluster: CitusCluster):
    async with cluster.plain_database() as url:
        await fill(url)
        await cluster.add_extension(name_of(url))
        with pytest.raises(KeyboardInterrupt):
            await carry_out(url, dies_after=2)
        with pytest.raises(StartupError, match=r"metric_segments is distributed .* hot_batches is not.*run it again"):
            await opened_by_a_service(url)


async def test_a_user_who_may_not_recover_transactions_is_refused(cluster: CitusCluster, database_url: str):
    administrator = await asyncpg.connect(database_url)
    role = f"r{name_of(database_url)}"
    try:
        await administrator.execute(f"CREATE ROLE {role} SUPERUSER LOGIN; ALTER ROLE {role} NOSUPERUSER")
        await administrator.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        url = re.sub(r"//[^@/]*@", f"//{role}@", database_url)
        grant = rf"GRANT EXECUTE ON FUNCTION recover_prepared_transactions\(\) TO {role}"
        with pytest.raises(StartupError, match=grant):
            await opened_by_a_service(url)
    finally:
        await administrator.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await administrator.close()


async def test_connections_know_the_layout(database: Database, cluster: CitusCluster):
    async with database.acquire() as connection:
        assert layout_of(connection) is DISTRIBUTED
        assert await connection.fetchval("SHOW citus.max_adaptive_executor_pool_size") == "1"
    async with cluster.plain_database() as url:
        plain = await Database.open(url, max_size=1)
        async with plain.acquire() as connection:
            assert layout_of(connection) is ONE_POSTGRES
        await plain.close()


async def test_migrations_reach_the_workers(database: Database):
    known = packaged_migrations()
    sql = "ALTER TABLE metric_segments ADD added int;\nALTER TABLE hot_batches ADD added int;\n" + "".join(
        definition.statements for definition in packaged_definitions().values()
    )
    await migrate(database, [*known, Migration(len(known) + 1, "test", "before", sql, sql)])
    found = await database.fetchval(
        "SELECT array_agg(result) FROM run_command_on_workers($$SELECT count(*) FROM pg_attribute "
        "WHERE attname = 'added' AND attrelid IN ('metric_segments'::regclass, 'hot_batches'::regclass)$$)"
    )
    assert set(found) == {"2"}
    assert await database.fetch(POINTS) == []


async def test_partitions_of_epochs_come_and_go_on_the_workers(database: Database):
    async def shards() -> list[int]:
        rows = await database.fetch(
            "SELECT result::int FROM run_command_on_workers("
            "$$SELECT count(*) FROM pg_class WHERE relname ~ '^hot_batches_[0-9]+_[0-9]+$' AND relkind = 'r'$$)"
        )
        return [row["result"] for row in rows]

    before = sum(await shards())
    await database.execute("SELECT create_hot_partition(7)")
    assert sum(await shards()) == before + SHARDS // distribute.HOT_SHARDS_DIVISOR
    await database.execute("DROP TABLE hot_batches_7")
    await asyncio.sleep(0)
    assert sum(await shards()) == before
