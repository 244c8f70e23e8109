"""Reads of more hot rows than are held at a time, and segments in portions."""

from __future__ import annotations

from typing import Any

import pytest

from runstream_service.query import hot
from runstream_service.query.series import MAX_STEP, MIN_STEP
from runstream_service.query.snapshot import Reads
from runstream_service.segments.decode import SegmentStream, segments_of
from runstream_service.storage.database import Database
from tests.integration.test_reads_during_rollup import QUESTIONS
from tests.support.stored import Point, make_run, prepare, put


@pytest.mark.parametrize("question", QUESTIONS)
async def test_many_hot_rows_are_read_in_several_windows(
    database: Database, question: Any, monkeypatch: pytest.MonkeyPatch
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
    reads = Reads(database, max_reads=1)
    expected = await question(reads, run_id)
    for rows in (1, 60, 61, 150, 1_000):
        monkeypatch.setattr(hot, "MAX_ROWS", rows)
        monkeypatch.setattr(hot, "_BLOCK_ROWS", 7)
        assert await question(reads, run_id) == expected


async def test_windows_hold_what_fits_and_all_series_come(database: Database) -> None:
    await prepare(database)
    run_id = await make_run(database)
    ids = [await put(database, run_id, f"k{i}", hot=[(n, n, 0.0) for n in range(10 * i)]) for i in range(9)]
    ids.reverse()
    seen = []
    async with Reads(database, max_reads=1).snapshot() as snapshot:
        async for window in hot.windows(snapshot, ids, max_rows=100):
            assert len(window) <= 100
            seen += [len(window.of(position)) for position in range(window.start, window.end)]
    assert seen == [10 * i for i in range(9)][::-1]


async def test_many_series_are_not_named_when_nothing_is_hot(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot, "_MANY_SERIES", 1)
    await prepare(database)
    run_id = await make_run(database)
    stored = [[(step, step, 1.0) for step in range(10)]]
    ids = [await put(database, run_id, f"k{i}", segments=stored) for i in range(3)]
    reads = Reads(database, max_reads=1)
    before = [await question(reads, run_id) for question in QUESTIONS]
    monkeypatch.undo()
    assert [await question(reads, run_id) for question in QUESTIONS] == before
    monkeypatch.setattr(hot, "_MANY_SERIES", 1)
    await put(database, run_id, "k1", hot=[(10, 10, 2.0)])
    async with reads.snapshot() as snapshot:
        (window,) = [window async for window in hot.windows(snapshot, ids)]
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
    async with Reads(database, max_reads=1).snapshot() as snapshot:
        data = await snapshot.copy("segments_in_order", [series_id], 1, MIN_STEP, MAX_STEP)
    whole = list(segments_of(data))
    assert len(whole) == 3
    for size in (1, 2, 3, 19, 100, 1_000):
        stream = SegmentStream()
        found = [one for start in range(0, len(data), size) for one in stream.feed(data[start : start + size])]
        stream.finish()
        for one, other in zip(found, whole, strict=True):
            assert (one.owner, one.place, one.first_step) == (other.owner, other.place, other.first_step)
            assert one.value.tobytes() == other.value.tobytes()
            for mine, theirs in ((one.step, other.step), (one.time_unix_us, other.time_unix_us)):
                assert mine is not None
                assert theirs is not None
                assert mine.tolist() == theirs.tolist()
    points = [point for one in whole for point in zip(one.step.tolist(), one.time_unix_us.tolist(), strict=True)]  # type: ignore[union-attr]
    assert sorted(points) == sorted(point[:2] for form in forms for point in form)
