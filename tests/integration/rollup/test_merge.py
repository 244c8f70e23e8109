"""Small segments become large ones."""

from __future__ import annotations

import asyncio

import pytest

from runstream_service.rollup import merge, rollup
from runstream_service.rollup.merge import SegmentMerger
from runstream_service.segments.build import MAX_POINTS
from runstream_service.stores import segment_store
from tests.integration.rollup.conftest import line, new_run


async def epochs_of(lab, series: list[int], epochs: int, points: int, *, until: str = "drop") -> None:
    """Write `epochs` epochs with `points` points of each series."""
    start = len([p for p in lab.expected if p[0] == series[0]])
    for number in range(epochs):
        await lab.append([point for one in series for point in line(one, start + number * points, points)])
        await lab.cycle(until=until)


async def end(lab) -> None:
    await lab.database.execute("UPDATE runs SET status = 'finished', ended_at = now() WHERE run_id = $1", lab.run_id)


async def test_when_a_run_ends_its_small_segments_become_full_ones(lab):
    series = await lab.new_series(3)
    await epochs_of(lab, series, 4, 500)
    assert await lab.counts() == [500] * 12
    assert not await SegmentMerger(lab.metrics).merge(lab.connection)
    await end(lab)
    assert await SegmentMerger(lab.metrics).merge(lab.connection)
    assert await lab.counts() == [MAX_POINTS, MAX_POINTS, 2_000 - 2 * MAX_POINTS] * 3
    assert await lab.database.fetch("SELECT DISTINCT epoch FROM metric_segments") == [(4,)]
    await lab.check()
    assert not await SegmentMerger(lab.metrics).merge(lab.connection), "merging again gains nothing"


async def test_a_long_run_is_merged_when_enough_has_come_together(lab):
    (series,) = await lab.new_series()
    await epochs_of(lab, [series], 8, 10)
    assert not await SegmentMerger(lab.metrics).merge(lab.connection)
    await epochs_of(lab, [series], 1, 10)
    assert await SegmentMerger(lab.metrics).merge(lab.connection)
    assert await lab.counts() == [90]
    await lab.check()


async def test_only_epochs_whose_hot_rows_are_gone_are_merged(lab):
    (series,) = await lab.new_series()
    await epochs_of(lab, [series], 2, 10)
    await epochs_of(lab, [series], 2, 10, until="publish")
    await end(lab)
    await SegmentMerger(lab.metrics).merge(lab.connection)
    assert await lab.counts() == [20, 10, 10]
    await lab.check()


async def test_merging_does_not_reach_over_a_large_segment(lab):
    (series,) = await lab.new_series()
    for count in (10, 20, 900, 30, 40):
        await epochs_of(lab, [series], 1, count)
    await end(lab)
    await lab.cycle()
    assert await lab.counts() == [30, 900, 70]
    await lab.check()


async def test_late_repeated_and_irregular_points_are_merged_as_they_are(lab):
    (series,) = await lab.new_series()
    nan, inf = float("nan"), float("inf")
    for points in (
        [(5, 0, 0.1), (5, 0, 0.1), (9, 2**40, nan)],
        [(0, 7, -0.0), (5, 0, inf), (2**62, 1, 0.5)],
        [(-(2**63), 7, 1e300), (5, 0, nan)],
    ):
        await lab.append([(series, *point) for point in points])
        await lab.cycle(until="drop")
    await end(lab)
    await lab.cycle()
    assert await lab.counts() == [8]
    await lab.check()


@pytest.mark.parametrize("table", ["series", "runs"])
async def test_what_is_marked_for_deletion_is_left_alone(lab, table):
    series = await lab.new_series(2)
    await epochs_of(lab, series, 3, 10)
    await end(lab)
    where = f"series_id = {series[0]}" if table == "series" else "true"
    await lab.database.execute(f"UPDATE {table} SET purge_epoch = 1 WHERE {where}")
    await lab.cycle()
    assert await lab.counts() == ([10, 10, 10, 30] if table == "series" else [10] * 6)


async def test_two_replicas_that_merge_at_once_merge_each_series_once(lab):
    series = await lab.new_series(40)
    await epochs_of(lab, series, 3, 50)
    await end(lab)
    async with lab.replica() as other:
        await asyncio.gather(*(SegmentMerger(lab.metrics).merge(connection) for connection in (lab.connection, other)))
    await lab.cycle()
    assert await lab.counts() == [150] * 40
    await lab.check()


async def test_a_series_that_somebody_deletes_is_not_waited_for_and_does_not_come_back(lab):
    one, two = await lab.new_series(2)
    await epochs_of(lab, [one, two], 3, 10)
    await end(lab)
    async with lab.replica() as purge, purge.transaction():
        await purge.execute("SELECT FROM series WHERE series_id = $1 FOR UPDATE", one)
        await lab.cycle()
        assert await lab.counts() == [10, 10, 10, 30]
        await purge.execute("DELETE FROM metric_segments WHERE series_id = $1", one)
        await purge.execute("DELETE FROM series WHERE series_id = $1", one)
    await lab.cycle()
    assert await lab.counts() == [30]


async def test_a_merge_that_does_not_find_all_points_changes_nothing(lab):
    (series,) = await lab.new_series()
    await epochs_of(lab, [series], 3, 10)
    await end(lab)
    await lab.database.execute(
        """
        CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER skip BEFORE DELETE ON metric_segments FOR EACH ROW WHEN (OLD.epoch = 2) EXECUTE FUNCTION skip()
        """
    )
    with pytest.raises(rollup.PointsMissing, match="30 points were to be merged, 20 were found"):
        await SegmentMerger(lab.metrics).merge(lab.connection)
    assert await lab.counts() == [10] * 3
    await lab.check()


async def test_series_are_merged_page_by_page_over_several_calls(lab, monkeypatch):
    monkeypatch.setattr("runstream_service.rollup.merge._SEGMENTS_AT_ONCE", 6)
    monkeypatch.setattr("runstream_service.rollup.merge._EXAMINED_AT_ONCE", 4)
    running, ended = await lab.new_series(6), await lab.new_series(7, await new_run(lab.database))
    await epochs_of(lab, running + ended, 2, 10)
    await lab.database.execute("UPDATE runs SET status = 'failed' WHERE run_id <> $1", lab.run_id)
    merger = SegmentMerger(lab.metrics)
    did = [await merger.merge(lab.connection) for _ in range(6)]
    assert did.count(True) == 3
    assert await lab.counts() == [10, 10] * 6 + [20] * 7
    await lab.check()


async def test_a_series_of_middling_segments_is_merged_when_four_full_ones_come_of_it(lab):
    (series,) = await lab.new_series()
    await epochs_of(lab, [series], 7, 500)
    assert not await SegmentMerger(lab.metrics).merge(lab.connection)
    await epochs_of(lab, [series], 1, 500)
    assert await SegmentMerger(lab.metrics).merge(lab.connection)
    assert await lab.counts() == [MAX_POINTS] * 4 + [4_000 - 4 * MAX_POINTS]
    await lab.check()


async def test_space_of_merged_segments_is_used_for_the_next_ones(lab, monkeypatch):
    monkeypatch.setattr("runstream_service.rollup.merge._SEGMENTS_AT_ONCE", 40)
    monkeypatch.setattr("runstream_service.rollup.merge._VACUUM_AT_LEAST", 50)
    series = await lab.new_series(100)
    await epochs_of(lab, series, 4, 500)
    await end(lab)
    size = "SELECT pg_total_relation_size('metric_segments')"
    before = await lab.database.fetchval(size)
    merger = SegmentMerger(lab.metrics)
    while await merger.merge(lab.connection):
        pass
    assert await lab.counts() == [MAX_POINTS, MAX_POINTS, 2_000 - 2 * MAX_POINTS] * 100
    assert await lab.database.fetchval(size) < 1.4 * before
    assert await lab.connection.fetchval("SHOW statement_timeout") == "2min"
    await lab.check()


async def test_no_statement_reads_whole_tables_also_before_the_first_analyze(lab):
    await lab.new_series(3_000)
    looked_up = [1, 2, 3]
    for query, arguments in (
        (rollup._DEAD_SERIES, [looked_up]),
        (segment_store.SQL["small"], [0, 5, 2_000]),
        (merge._LOCK_SERIES, [looked_up]),
        (segment_store.SQL["neighbours"], [looked_up, 5]),
        (segment_store.SQL["take"].format(groups="(0::bigint, 1::bigint, 0::bigint, 9::bigint)"), [5]),
    ):
        plan = "\n".join(row[0] for row in await lab.connection.fetch(f"EXPLAIN {query}", *arguments))
        assert "Seq Scan" not in plan, plan
        assert "Hash" not in plan, plan
