"""A long transaction has read hot batches: the log names it, others continue, and metrics show that the disk fills."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from runstream_service.rollup.measurements import measure_backlog
from runstream_service.rollup.partitions import PartitionDropper
from tests.integration.rollup.conftest import RollupEnvironment, line

LONGER_THAN_A_SECOND = "SELECT clock_timestamp() - xact_start > '1 second' FROM pg_stat_activity WHERE pid = $1"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


async def published(env: RollupEnvironment) -> None:
    (series,) = await env.new_series()
    await env.append(line(series, 0, 10))
    await env.cycle(until="publish")


async def test_a_drop_does_not_stand_in_line_behind_a_long_reader_and_the_log_names_it(env: RollupEnvironment) -> None:
    await published(env)
    dropper = PartitionDropper(0)
    async with env.replica() as reader:
        await reader.execute("SET application_name = 'a report'")
        async with reader.transaction():
            await reader.execute("SELECT count(*) FROM metric_points")
            pid = reader.get_server_pid()
            while not await env.database.fetchval(LONGER_THAN_A_SECOND, pid):
                await asyncio.sleep(0.05)
            with structlog.testing.capture_logs() as logs:
                # With a lock timeout, it would wait, and other readers behind it.
                dropper._lock_timeout_ms = 60_000
                assert await asyncio.wait_for(dropper.drop(env.connection), 10) is None
                assert await dropper.drop(env.connection) is None
            assert await env.database.fetchval(WAITING) == 0
            (named,) = logs  # once a minute
            assert (named["action"], named["pid"], named["application"]) == ("drop_blocked", pid, "a report")
        assert await dropper.drop(env.connection) == 1


async def test_points_that_should_have_been_dropped_long_ago_are_counted(env: RollupEnvironment) -> None:
    await published(env)
    assert (await measure_backlog(env.connection, max_read_age_s=60)).overdue_points == 0
    await env.database.execute("UPDATE epochs SET visible_at = visible_at - interval '3 minutes' WHERE epoch = 1")
    (series,) = await env.new_series()
    await env.append(line(series, 0, 7))
    backlog = await measure_backlog(env.connection, max_read_age_s=60)
    assert (backlog.points, backlog.overdue_points) == (7, 10)
    await PartitionDropper(60).drop(env.connection)
    assert (await measure_backlog(env.connection, max_read_age_s=60)).overdue_points == 0


@pytest.mark.parametrize("hot_points_max", [5, 10])
async def test_ingest_waits_when_too_many_points_cannot_be_dropped(env: RollupEnvironment, hot_points_max: int) -> None:
    from runstream_service.ingest.backpressure import HotTableGate
    from runstream_service.ingest.metrics import IngestMetrics

    gate = HotTableGate(hot_points_max, IngestMetrics(env.registry))
    await published(env)
    await env.database.execute("UPDATE epochs SET visible_at = visible_at - interval '3 minutes' WHERE epoch = 1")
    backlog = await measure_backlog(env.connection, max_read_age_s=60)
    gate.update(backlog.points, backlog.overdue_points)
    assert gate.closed == (hot_points_max == 5)
