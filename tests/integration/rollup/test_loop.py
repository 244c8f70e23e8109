"""The loop of roll-up does all steps, survives failures, and stops ingest when it is too far behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from runstream_service.database.embedded import EmbeddedPostgres
from runstream_service.database.pool import Connection, Database
from runstream_service.errors.core import DatabaseUnavailable
from runstream_service.ingest.backpressure import HotTableGate
from runstream_service.ingest.metrics import IngestMetrics
from runstream_service.rollup.loop import RollupLoop, RollupOptions
from runstream_service.rollup.metrics import RollupMetrics
from tests.integration.ingest.conftest import acknowledged, running_replica
from tests.integration.rollup.conftest import RollupEnvironment, line, new_run
from tests.support.clusters import place_cluster
from tests.support.databases import FAST
from tests.support.tasks import end

AT_ONCE = RollupOptions(epoch_points=1, epoch_seconds=0, max_read_age_s=0)


class Replica:
    """A loop with its gate and its metrics."""

    def __init__(self, database: Database, options: RollupOptions = AT_ONCE, hot_points_max: int = 10**9) -> None:
        self.registry = CollectorRegistry()
        self.gate = HotTableGate(hot_points_max, IngestMetrics(self.registry))
        self.loop = RollupLoop(database, RollupMetrics(self.registry), self.gate, options)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    async def turns(self, count: int = 4) -> None:
        for _ in range(count):
            await self.loop.run_once()


@contextlib.asynccontextmanager
async def running(loop: RollupLoop) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        await end(task)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """The loop has no event for others to wait for."""
    while not await condition():
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Removes the waits between turns and after failures."""
    for name in ("_EVERY_S", "_FIRST_BACKOFF_S", "_LONGEST_BACKOFF_S"):
        monkeypatch.setattr(f"runstream_service.rollup.loop.{name}", 0.01)


async def test_an_idle_system_ends_up_with_an_empty_hot_table(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 100))
    replica = Replica(env.database)
    await replica.turns()
    assert await env.hot_rows() == 0
    await env.check()
    assert replica.metric("runstream_rollup_visible_epoch") == replica.metric("runstream_rollup_dropped_epoch") == 1
    assert replica.metric("runstream_rollup_points_total") == 100
    assert replica.metric("runstream_rollup_segments_total") == 1
    assert replica.metric("runstream_rollup_lag_points") == replica.metric("runstream_rollup_lag_seconds") == 0
    # And stays as it is: no epoch after epoch of nothing.
    await replica.turns()
    assert await env.states() == {1: "dropped", 2: "open"}


async def test_the_lag_is_shown_in_points_and_in_seconds(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 100))
    await env.database.execute("UPDATE commits SET committed_at = now() - interval '30 s'")
    replica = Replica(env.database, RollupOptions())
    await replica.turns(1)
    assert replica.metric("runstream_rollup_lag_points") == 100
    assert 30 <= replica.metric("runstream_rollup_lag_seconds") < 60


async def test_a_step_that_fails_is_reported_and_repeated_and_the_others_go_on(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 100))
    await env.database.execute("ALTER TABLE metric_segments RENAME TO hidden")
    replica = Replica(env.database)
    with capture_logs() as logs:
        for first in (100, 200):
            await replica.turns(2)
            await env.append(line(series, first, 100))
    failed = [record for record in logs if record["action"] == "rollup_failed"]
    assert {record["step"] for record in failed} == {"roll"}
    assert replica.metric("runstream_rollup_failures_total", step="roll", error="UndefinedTableError") >= 1
    assert await env.states() == {1: "sealed", 2: "sealed", 3: "open"}, "rotating went on"
    await env.database.execute("ALTER TABLE hidden RENAME TO metric_segments")
    async with running(replica.loop):
        await until(lambda: _empty(env))
    await env.check()


async def test_the_loop_lives_through_the_death_of_its_connections(env):
    (series,) = await env.new_series()
    replica = Replica(env.database)
    async with running(replica.loop) as task:
        killed, first = 0, 0
        while first < 1_000 or killed < 3:
            await env.append(line(series, first, 100))
            first += 100
            killed += await env.database.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'runstream-rollup' AND datname = current_database() AND pid <> $1",
                env.connection.get_server_pid(),
            )
        await until(lambda: _empty(env))
        assert not task.done()
    await env.check()


async def test_the_loop_lives_through_a_restart_of_postgres(data_dir):
    place_cluster(data_dir)
    server = EmbeddedPostgres(data_dir, options=FAST)
    await server.start()
    try:
        database = await Database.open(server.url)
        connection = await database.connect_rollup()
        env = RollupEnvironment(database, connection, await new_run(database))
        (series,) = await env.new_series()
        await env.append(line(series, 0, 100))
        replica = Replica(database)
        async with running(replica.loop) as task:
            await until(lambda: _empty(env))
            server.kill()
            # Nobody starts it again before the loop has noticed; it would be there after a third of a second.
            while not replica.metric("runstream_rollup_failures_total", step="connect", error="DatabaseUnavailable"):
                await asyncio.sleep(0.01)
            supervisor = asyncio.create_task(server.supervise())
            env.connection = await _connection(database)
            await env.append(line(series, 100, 100))
            await until(lambda: _empty(env))
            assert not task.done()
        await env.check()
        env.close()
        await database.close()
        await end(supervisor)
    finally:
        await server.stop()


async def test_a_cancelled_loop_leaves_its_work_to_others(env):
    series = await env.new_series(20)
    await env.append([point for one in series for point in line(one, 0, 500)])
    for delay_turns in range(0, 60, 3):
        replica = Replica(env.database)
        task = asyncio.create_task(replica.loop.run())
        for _ in range(delay_turns):
            await asyncio.sleep(0.001)
        await end(task)
        await env.check()
    replica = Replica(env.database)
    async with running(replica.loop):
        await until(lambda: _empty(env))
    await env.check()


async def test_ingest_goes_on_during_roll_up_by_two_replicas(env):
    async with running_replica(env.database) as ingest:
        streams = [await ingest.open(env.run_id, rank=rank) for rank in range(4)]
        loops = [
            Replica(env.database, RollupOptions(epoch_points=500, epoch_seconds=0.1, max_read_age_s=0)) for _ in "ab"
        ]
        async with running(loops[0].loop), running(loops[1].loop):
            sent = 0
            while sent < 100 or max(await env.states()) <= 3:  # over some epochs
                sent += 5
                for number in range(sent - 4, sent + 1):
                    for stream in streams:
                        await ingest.send(stream, number, [float(number)] * 50)
                for stream in streams:
                    assert await asyncio.wait_for(acknowledged(stream, sent), 20) == []
            await until(lambda: _empty(env))
    stored = await env.stored()
    assert set(stored.values()) == {1}
    assert len(stored) == 4 * sent * 50
    assert sum(loop.metric("runstream_rollup_points_total") for loop in loops) == 4 * sent * 50
    assert all(not loop.metric("runstream_rollup_failures_total") for loop in loops)


async def test_above_the_hot_bound_ingest_stops_and_goes_on_when_roll_up_caught_up(env):
    async with running_replica(env.database, hot_points_max=1_000) as ingest:
        stream = await ingest.open(env.run_id)
        loop = RollupLoop(
            env.database, RollupMetrics(ingest.registry), ingest.pipeline.gate, RollupOptions(max_read_age_s=0)
        )
        await ingest.send(stream, 1, [0.5] * 1_001)
        await acknowledged(stream, 1)
        with capture_logs() as logs:
            async with env.database.transaction() as holder:
                await holder.execute("LOCK TABLE metric_segments")  # roll-up cannot go on
                turns = asyncio.create_task(loop.run_once())
                while not ingest.pipeline.gate.closed:
                    await asyncio.sleep(0.005)
                blocked = asyncio.create_task(ingest.send(stream, 2, [0.5]))
                _, waiting = await asyncio.wait({blocked}, timeout=0.2)
                assert waiting
                assert ingest.metric("runstream_ingest_held") == 1
                assert ingest.metric("runstream_queue_points") == 0, "who waits takes nothing from the others"
            await turns
            while not blocked.done():
                await loop.run_once()
        await acknowledged(stream, 2)
        assert (ingest.metric("runstream_ingest_held"), ingest.metric("runstream_ingest_holds_total")) == (0, 1)
    actions = [record["action"] for record in logs]
    assert (actions.count("ingest_held"), actions.count("ingest_resumed")) == (1, 1)


async def test_a_stream_that_waits_at_the_gate_can_be_ended(env):
    async with running_replica(env.database, hot_points_max=10) as ingest:
        stream = await ingest.open(env.run_id)
        ingest.pipeline.gate.update(11)
        blocked = asyncio.create_task(ingest.send(stream, 1, [0.5]))
        await asyncio.sleep(0)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        ingest.streams.close()
        assert stream.nothing_in_flight


async def _connection(database: Database) -> Connection:
    """One to a PostgreSQL that is being started."""
    while True:
        with contextlib.suppress(DatabaseUnavailable):
            return await database.connect_rollup()
        await asyncio.sleep(0.02)


async def _empty(env: RollupEnvironment) -> bool:
    return await env.hot_rows() == 0


async def test_the_sizes_of_the_database_and_of_its_two_large_tables_are_shown(env):
    (series,) = await env.new_series()
    await env.append(line(series, 0, 100))
    replica = Replica(env.database)
    await replica.turns()
    sizes = {name: replica.metric("runstream_table_bytes", table=name) for name in ("hot", "segments")}
    assert min(sizes.values()) > 0
    assert replica.metric("runstream_database_bytes") > sum(sizes.values())
