"""Reads of more hot points than are held at a time, and segments in portions."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest

from runstream_service.database.pool import Database
from runstream_service.errors.core import Overloaded
from runstream_service.query import latest as latest_module
from runstream_service.query.latest import Latest
from runstream_service.query.reading import hot_windows
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.reading.series import MAX_STEP, MIN_STEP
from runstream_service.segments.decode import SegmentStream, segments_of
from runstream_service.stores.segment_store import SQL, bind
from tests.integration.test_reads_during_rollup import CALLER, READS, history, latest
from tests.support.stored import Point, make_run, prepare, put


@pytest.mark.parametrize("read", READS)
async def test_many_hot_points_are_read_in_several_windows(
    database: Database, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(database)
    run_id = await make_run(database)
    for rank in (2, 0, 1):
        for attempt in (1, 0):
            points = [(step + 50 * attempt, step, step / 8 + rank) for step in range(100)]
            await put(
                database,
                run_id,
                "k",
                segments=[points[20:60]],
                hot=points[60:] + points[:20],
                rank=rank,
                attempt=attempt,
            )
    read_pool = ReadPool(database, max_reads=1)
    expected = await read(read_pool, run_id)
    for points_at_once in (1, 60, 61, 150, 1_000):
        monkeypatch.setattr(hot_windows, "MAX_POINTS", points_at_once)
        monkeypatch.setattr(hot_windows, "_BLOCK_BYTES", 700)
        assert await read(read_pool, run_id) == expected


async def test_windows_hold_what_fits_and_all_series_come(database: Database) -> None:
    await prepare(database)
    run_id = await make_run(database)
    ids = [await put(database, run_id, f"k{i}", hot=[(n, n, 0.0) for n in range(10 * i)]) for i in range(9)]
    ids.reverse()
    seen = []
    async with ReadPool(database, max_reads=1).transaction() as transaction:
        async for window in hot_windows.windows(transaction, ids, runs=[UUID(run_id)], ranks=[0], max_points=100):
            assert len(window) <= 100
            seen += [len(window.of(position)) for position in range(window.start, window.end)]
    assert seen == [10 * i for i in range(9)][::-1]


async def test_many_series_are_not_named_when_nothing_is_hot(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_windows, "_MANY_SERIES", 1)
    await prepare(database)
    run_id = await make_run(database)
    stored = [[(step, step, 1.0) for step in range(10)]]
    ids = [await put(database, run_id, f"k{i}", segments=stored) for i in range(3)]
    read_pool = ReadPool(database, max_reads=1)
    before = [await read(read_pool, run_id) for read in READS]
    monkeypatch.undo()
    assert [await read(read_pool, run_id) for read in READS] == before
    monkeypatch.setattr(hot_windows, "_MANY_SERIES", 1)
    await put(database, run_id, "k1", hot=[(10, 10, 2.0)])
    async with read_pool.transaction() as transaction:
        (window,) = [window async for window in hot_windows.windows(transaction, ids, runs=[UUID(run_id)], ranks=[0])]
    assert [len(window.of(position)) for position in range(3)] == [0, 1, 0]


async def test_segments_are_the_same_however_the_copy_is_cut(database: Database) -> None:
    await prepare(database)
    run_id = await make_run(database)
    forms: list[list[Point]] = [
        [(step, step, 0.5) for step in range(20)],
        [(step * step, 10**12 * step, 0.1) for step in range(30)],
        [(5, 5, float("nan"))],
    ]
    series_id = await put(database, run_id, "k", segments=forms)
    async with ReadPool(database, max_reads=1).transaction() as transaction:
        data = await transaction.copy_sql(bind(SQL["in_order"], [series_id], 1, MIN_STEP, MAX_STEP))
    whole = list(segments_of(data))
    assert len(whole) == 3
    for size in (1, 2, 3, 19, 100, 1_000):
        stream = SegmentStream()
        found = [one for start in range(0, len(data), size) for one in stream.feed(data[start : start + size])]
        stream.finish()
        for one, other in zip(found, whole, strict=True):
            assert (one.owner, one.ctid, one.first_step) == (other.owner, other.ctid, other.first_step)
            assert one.value.tobytes() == other.value.tobytes()
            for mine, theirs in ((one.step, other.step), (one.time_unix_us, other.time_unix_us)):
                assert mine is not None
                assert theirs is not None
                assert mine.tolist() == theirs.tolist()
    points = [point for one in whole for point in zip(one.step.tolist(), one.time_unix_us.tolist(), strict=True)]  # type: ignore[union-attr]
    assert sorted(points) == sorted(point[:2] for form in forms for point in form)


async def test_one_series_is_divided_by_steps_where_all_of_it_is_not_needed_at_once(database: Database) -> None:
    await prepare(database)
    run_id = await make_run(database)
    steps = [*range(300), *range(100), *([17] * 150)]  # some of them twice, and one more often than fits
    random.Random(1).shuffle(steps)
    long = await put(database, run_id, "long", hot=[(step, i, float(i)) for i, step in enumerate(steps)])
    ids = [
        await put(database, run_id, "before", hot=[(1, 1, 1.0)] * 3),
        long,
        await put(database, run_id, "after", hot=[(2, 2, 2.0)] * 4),
    ]
    seen: dict[int, list[tuple[int, int, float]]] = {0: [], 1: [], 2: []}
    windows = 0
    async with ReadPool(database, max_reads=1).transaction() as transaction:
        found = hot_windows.windows(transaction, ids, runs=[UUID(run_id)], ranks=[0], max_points=100, divide=True)
        async for window in found:
            windows += 1
            for position in range(window.start, window.end):
                points = window.of(position)
                assert len(points) <= 100 or set(points.step.tolist()) == {17}
                assert all(window.low <= step <= window.high for step in points.step.tolist())
                seen[position] += zip(
                    points.step.tolist(), points.time_unix_us.tolist(), points.value.tolist(), strict=True
                )
    assert windows > 5
    assert seen[1] == sorted(seen[1], key=lambda point: point[:2])
    assert sorted(point[2] for point in seen[1]) == [float(i) for i in range(len(steps))]
    assert [len(seen[position]) for position in (0, 2)] == [3, 4]


@pytest.mark.parametrize("read", READS)
async def test_more_hot_points_of_a_series_than_anybody_holds_are_refused_for_a_moment_or_divided(
    database: Database, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(database)
    run_id = await make_run(database)
    points = [(step, step, step / 8) for step in range(200)]
    await put(database, run_id, "k", segments=[points[20:60]], hot=points[60:] + points[:20])
    read_pool = ReadPool(database, max_reads=1)
    expected = await read(read_pool, run_id)
    monkeypatch.setattr(hot_windows, "MAX_POINTS", 50)
    monkeypatch.setattr(hot_windows, "MAX_POINTS_OF_ONE", 100)
    monkeypatch.setattr(hot_windows, "_BLOCK_BYTES", 700)
    if read in (history, latest):
        assert await read(read_pool, run_id) == expected
    else:
        with pytest.raises(Overloaded, match="not rolled up yet; try again in a minute"):
            await read(read_pool, run_id)
    assert await latest(read_pool, run_id)  # the place for a read is free again


async def test_reads_of_very_many_latest_values_run_one_at_a_time_and_others_alongside(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest_module, "_FEW_RUNS", 0)
    await prepare(database)
    large, small = await make_run(database), await make_run(database)
    for number in range(8):
        await put(database, large, f"k{number}", hot=[(1, 1, float(number))])
    await put(database, small, "k", hot=[(1, 1, 2.0)])
    reader = Latest(ReadPool(database, max_reads=2))
    expected = (await reader.read(CALLER, [large])).value.tolist()
    monkeypatch.setattr(latest_module, "MANY_SERIES", 3)
    async with reader._large:
        waiting = asyncio.create_task(reader.read(CALLER, [large]))
        assert (await reader.read(CALLER, [small])).value.tolist() == [2.0]
        assert not waiting.done()
    assert (await waiting).value.tolist() == expected
    monkeypatch.setattr(latest_module, "_LONGEST_WAIT_S", 0.01)
    async with reader._large:
        with pytest.raises(Overloaded, match="reads of more than 3 series run one at a time"):
            await reader.read(CALLER, [large])
    assert (await reader.read(CALLER, [large])).value.tolist() == expected
