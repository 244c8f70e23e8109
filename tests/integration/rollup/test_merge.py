"""Small segments become large ones."""

from __future__ import annotations

import asyncio

import pytest

from runstream_service.rollup import merge, rollup
from runstream_service.rollup.merge import SegmentMerger
from runstream_service.segments.build import MAX_POINTS
from runstream_service.stores import segment_store
from tests.integration.rollup.conftest import line, new_run


async def epochs_of(env, series: list[int], epochs: int, points: int, *, until: str = "drop") -> None:
    """Write `epochs` epochs with `points` points of each series."""
    start = len([p for p in env.expected if p[0] == series[0]])
    for number in range(epochs):
        await env.append([point for one in series for point in line(one, start + number * points, points)])
        await env.cycle(until=until)


async def end(env) -> None:
    await env.database.execute("UPDATE runs SET status = 'finished', ended_at = now() WHERE run_id = $1", env.run_id)


async def test_when_a_run_ends_its_small_segments_become_full_ones(env):
    series = await env.new_series(3)
    await epochs_of(env, series, 4, 500)
    assert await env.counts() == [500] * 12
    assert not await SegmentMerger(env.metrics).merge(env.connection)
    await end(env)
    assert await SegmentMerger(env.metrics).merge(env.connection)
    assert await env.counts() == [MAX_POINTS, MAX_POINTS, 2_000 - 2 * MAX_POINTS] * 3
    assert await env.database.fetch("SELECT DISTINCT epoch FROM metric_segments") == [(4,)]
    await env.check()
    assert not await SegmentMerger(env.metrics).merge(env.connection), "merging again gains nothing"


async def test_a_long_run_is_merged_when_enough_has_come_together(env):
    (series,) = await env.new_series()
    await epochs_of(env, [series], 8, 10)
    assert not await SegmentMerger(env.metrics).merge(env.connection)
    await epochs_of(env, [series], 1, 10)
    assert await SegmentMerger(env.metrics).merge(env.connection)
    assert await env.counts() == [90]
    await env.check()


async def test_only_epochs_whose_hot_rows_are_gone_are_merged(env):
    (series,) = await env.new_series()
    await epochs_of(env, [series], 2, 10)
    await epochs_of(env, [series], 2, 10, until="publish")
    await end(env)
    await SegmentMerger(env.metrics).merge(env.connection)
    assert await env.counts() == [20, 10, 10]
    await env.check()


async def test_merging_does_not_reach_over_a_large_segment(env):
    (series,) = await env.new_series()
    for count in (10, 20, 900, 30, 40):
        await epochs_of(env, [series], 1, count)
    await end(env)
    await env.cycle()
    assert await env.counts() == [30, 900, 70]
    await env.check()


async def test_late_repeated_and_irregular_points_are_merged_as_they_are(env):
    (series,) = await env.new_series()
    nan, inf = float("nan"), float("inf")
    for points in (
        [(5, 0, 0.1), (5, 0, 0.1), (9, 2**40, nan)],
        [(0, 7, -0.0), (5, 0, inf), (2**62, 1, 0.5)],
        [(-(2**63), 7, 1e300), (5, 0, nan)],
    ):
        await env.append([(series, *point) for point in points])
        await env.cycle(until="drop")
    await end(env)
    await env.cycle()
    assert await env.counts() == [8]
    await env.check()


@pytest.mark.parametrize("table", ["series", "runs"])
async def test_what_is_marked_for_deletion_is_left_alone(env, table):
    series = await env.new_series(2)
    await epochs_of(env, series, 3, 10)
    await end(env)
    where = f"series_id = {series[0]}" if table == "series" else "true"
    await env.database.execute(f"UPDATE {table} SET purge_epoch = 1 WHERE {where}")
    await env.cycle()
    assert await env.counts() == ([10, 10, 10, 30] if table == "series" else [10] * 6)


async def test_two_replicas_that_merge_at_once_merge_each_series_once(env):
    series = await env.new_series(40)
    await epochs_of(env, series, 3, 50)
    await end(env)
    async with env.replica() as other:
        await asyncio.gather(*(SegmentMerger(env.metrics).merge(connection) for connection in (env.connection, other)))
    await env.cycle()
    assert await env.counts() == [150] * 40
    await env.check()


async def test_a_series_that_somebody_deletes_is_not_waited_for_and_does_not_come_back(env):
    one, two = await env.new_series(2)
    await epochs_of(env, [one, two], 3, 10)
    await end(env)
    async with env.replica() as purge, purge.transaction():
        await purge.execute("SELECT FROM series WHERE series_id = $1 FOR UPDATE", one)
        await env.cycle()
        assert await env.counts() == [10, 10, 10, 30]
        await purge.execute("DELETE FROM metric_segments WHERE series_id = $1", one)
        await purge.execute("DELETE FROM series WHERE series_id = $1", one)
    await env.cycle()
    assert await env.counts() == [30]


async def test_a_merge_that_does_not_find_all_points_changes_nothing(env):
    (series,) = await env.new_series()
    await epochs_of(env, [series], 3, 10)
    await end(env)
    await env.database.execute(
        """
        CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER skip BEFORE DELETE ON metric_segments FOR EACH ROW WHEN (OLD.epoch = 2) EXECUTE FUNCTION skip()
        """
    )
    with pytest.raises(rollup.PointsMissing, match="30 points were to be merged, 20 were found"):
        await SegmentMerger(env.metrics).merge(env.connection)
    assert await env.counts() == [10] * 3
    await env.check()


async def test_series_are_merged_page_by_page_over_several_calls(env, monkeypatch):
    monkeypatch.setattr("runstream_service.rollup.merge._SEGMENTS_AT_ONCE", 6)
    monkeypatch.setattr("runstream_service.rollup.merge._EXAMINED_AT_ONCE", 4)
    running, ended = await env.new_series(6), await env.new_series(7, await new_run(env.database))
    await epochs_of(env, running + ended, 2, 10)
    await env.database.execute("UPDATE runs SET status = 'failed' WHERE run_id <> $1", env.run_id)
    merger = SegmentMerger(env.metrics)
    did = [await merger.merge(env.connection) for _ in range(6)]
    assert did.count(True) == 3
    assert await env.counts() == [10, 10] * 6 + [20] * 7
    await env.check()


async def test_a_series_of_middling_segments_is_merged_when_four_full_ones_come_of_it(env):
    (series,) = await env.new_series()
    await epochs_of(env, [series], 7, 500)
    assert not await SegmentMerger(env.metrics).merge(env.connection)
    await epochs_of(env, [series], 1, 500)
    assert await SegmentMerger(env.metrics).merge(env.connection)
    assert await env.counts() == [MAX_POINTS] * 4 + [4_000 - 4 * MAX_POINTS]
    await env.check()


async def test_space_of_merged_segments_is_used_for_the_next_ones(env, monkeypatch):
    monkeypatch.setattr("runstream_service.rollup.merge._SEGMENTS_AT_ONCE", 40)
    monkeypatch.setattr("runstream_service.rollup.merge._VACUUM_AT_LEAST", 50)
    series = await env.new_series(100)
    await epochs_of(env, series, 4, 500)
    await end(env)
    size = "SELECT pg_total_relation_size('metric_segments')"
    before = await env.database.fetchval(size)
    merger = SegmentMerger(env.metrics)
    while await merger.merge(env.connection):
        pass
    assert await env.counts() == [MAX_POINTS, MAX_POINTS, 2_000 - 2 * MAX_POINTS] * 100
    assert await env.database.fetchval(size) < 1.4 * before
    assert await env.connection.fetchval("SHOW statement_timeout") == "2min"
    await env.check()


async def test_no_statement_reads_whole_tables_also_before_the_first_analyze(env):
    await env.new_series(3_000)
    looked_up = [1, 2, 3]
    for query, arguments in (
        (rollup._DEAD_SERIES, [looked_up]),
        (segment_store.SQL["small"], [0, 5, 2_000]),
        (merge._LOCK_SERIES, [looked_up]),
        (segment_store.SQL["neighbours"], [looked_up, 5]),
        (segment_store.SQL["take"].format(groups="(0::bigint, 1::bigint, 0::bigint, 9::bigint)"), [5]),
    ):
        plan = "\n".join(row[0] for row in await env.connection.fetch(f"EXPLAIN {query}", *arguments))
        assert "Seq Scan" not in plan, plan
        assert "Hash" not in plan, plan
