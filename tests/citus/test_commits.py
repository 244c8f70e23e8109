"""A commit on several nodes: when a node dies in the middle of it, nothing is lost, doubled or read too early."""

from __future__ import annotations

import os
import time
import uuid

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from runstream_service.database import layout
from runstream_service.database.pool import Connection, Database, layout_of
from runstream_service.errors.core import DatabaseUnavailable
from runstream_service.rollup import epochs, rollup
from runstream_service.rollup.metrics import RollupMetrics
from tests.support.citus import CitusCluster
from tests.support.hot import put_hot
from tests.support.points import columns
from tests.support.stored import make_run

# As Citus names them: the group of the coordinator, a process that does not run any more, and two numbers.
ORPHAN = f"citus_0_1_{os.getpid()}_{time.time_ns() % 1_000_000}"


@pytest.fixture
async def connection(database: Database):
    opened = await database.connect_rollup()
    yield opened
    await layout_of(opened).recover(opened)  # a database with prepared transactions cannot be dropped
    opened.terminate()


async def shard_of(connection: Connection, cluster: CitusCluster, table: str, value: str) -> tuple[str, str]:
    """The URL of the worker that has the rows of a value, and the name of their table there."""
    (row,) = await connection.fetch(
        "SELECT s.shard_name, s.nodename, s.nodeport FROM citus_shards s "
        "WHERE s.shardid = get_shard_id_for_distribution_column($1::text::regclass, $2::text)",
        table,
        value,
    )
    shard, host, port = row
    name = await connection.fetchval("SELECT current_database()")
    (url,) = (url for url in cluster.urls(name)[1:] if f"{host}:{port}/" in url)
    return url, shard


async def orphan(connection: Connection, url: str, statement: str) -> None:
    """Leaves a transaction as if its coordinator had committed it and then lost the connection to the worker."""
    worker = await asyncpg.connect(url)
    await worker.execute(f"BEGIN; {statement}; PREPARE TRANSACTION '{ORPHAN}'")
    await worker.close()
    host, port = url.rpartition("@")[2].partition("/")[0].split(":")
    await connection.execute(
        "INSERT INTO pg_dist_transaction (groupid, gid) SELECT groupid, $3 FROM pg_dist_node "
        "WHERE nodename = $1 AND nodeport = $2",
        host,
        int(port),
        ORPHAN,
    )


async def stored_points(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM metric_points")
    return count


@pytest.fixture
async def batch_of_an_orphan(database: Database, connection: Connection, cluster: CitusCluster) -> None:
    """Epoch 1 has two commits of 100 points, of which the second is still prepared on its worker."""
    run_id = await make_run(database)
    series_id = await database.fetchval(
        "SELECT series_id FROM resolve_series($1, 0, 0, '{loss}', 10)", uuid.UUID(run_id)
    )
    points = columns([(series_id, step, step, float(step)) for step in range(100)])
    async with database.acquire() as writer:
        first = await put_hot(writer, points, epoch=1)
    second = await database.fetchval(
        "INSERT INTO commits (commit_no, epoch, point_count) VALUES (nextval('commit_numbers'), 1, 100) "
        "RETURNING commit_no"
    )
    url, shard = await shard_of(connection, cluster, "hot_batches_1", str(uuid.UUID(run_id)))
    await orphan(
        connection,
        url,
        f"INSERT INTO {shard} SELECT epoch, {second}, run_id, first_series, first_step, first_time, rank, points "
        f"FROM {shard} WHERE commit_no = {first}",
    )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_SETTLE_WITHIN_S", 0.2)


@pytest.mark.usefixtures("batch_of_an_orphan")
async def test_an_epoch_with_a_prepared_commit_is_not_rolled_up_before_it_is_recovered(connection: Connection):
    metrics = RollupMetrics(CollectorRegistry())
    assert await epochs.rotate(connection, max_points=1, max_age_s=1_000)
    assert await epochs.seal(connection)
    with pytest.raises(DatabaseUnavailable, match=f"still prepared .*{ORPHAN}@"):
        await rollup.roll(connection, metrics)
    assert await stored_points(connection) == 100
    await layout_of(connection).recover(connection)
    assert await stored_points(connection) == 200
    rolled = await rollup.roll(connection, metrics)
    assert rolled is not None
    assert rolled.points == 200
    assert await epochs.publish(connection) == 1
    assert await stored_points(connection) == 200


@pytest.mark.usefixtures("batch_of_an_orphan")
async def test_without_that_wait_roll_up_would_miss_its_points(connection: Connection, monkeypatch):
    async def settle(*_: object) -> None:
        pass

    monkeypatch.setattr(layout.DistributedLayout, "settle", settle)
    assert await epochs.rotate(connection, max_points=1, max_age_s=1_000)
    assert await epochs.seal(connection)
    with pytest.raises(rollup.PointsMissing):  # so it is not lost even then
        await rollup.roll(connection, RollupMetrics(CollectorRegistry()))


async def test_an_epoch_is_not_published_while_its_segments_are_prepared(
    database: Database, connection: Connection, cluster: CitusCluster
):
    url, _ = await shard_of(connection, cluster, "metric_segments", "1")
    await connection.execute("UPDATE epochs SET state = 'rolled' WHERE epoch = 1")
    await orphan(connection, url, "CREATE TABLE something (number int)")
    with pytest.raises(DatabaseUnavailable, match="still prepared"):
        await epochs.publish(connection)
    assert await connection.fetchval("SELECT visible_epoch FROM watermark") == 0
    await layout_of(connection).recover(connection)
    assert await epochs.publish(connection) == 1
