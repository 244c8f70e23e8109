"""Samples and pages of random points, in random segments and hot batches, against the points themselves."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream_service.database.pool import Database
from runstream_service.query.mlflow_view import downsample
from runstream_service.query.mlflow_view.metric_rows import MetricRows
from runstream_service.query.mlflow_view.run_metrics import RunMetrics
from runstream_service.query.reading.read_transaction import ReadPool
from tests.support.callers import caller_in
from tests.support.examples import examples
from tests.support.stored import Point, make_run, prepare, put

CALLER = caller_in(1)
WITH_DATABASE = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LARGEST = 1.7976931348623157e308
FIRST_STEP, LAST_STEP = -(2**63), 2**63 - 1

Row = tuple[int, int, float, bool]  # step, milliseconds, value (0 for NaN), is it NaN

VALUES = st.sampled_from([0.0, 1.0, -1.0, 0.1, math.nan, math.inf, -math.inf, LARGEST])
# Few different steps and milliseconds, so that many meet; and some far away.
STEPS = st.one_of(st.integers(0, 30), st.sampled_from([FIRST_STEP, LAST_STEP, -7, 10**12]))
TIMES = st.one_of(st.integers(0, 12).map(lambda n: 400 * n), st.sampled_from([-(10**16), 2 * 10**17]))
SEVERAL = st.integers(0, 60)


@st.composite
def usual(draw: st.DrawFn) -> list[Point]:
    """As a loop logs them; perhaps its clock stands still now and then, or is set back."""
    stride, pace = draw(st.integers(0, 3)), draw(st.sampled_from([0, 300, 1_000, 7_000]))
    begin = draw(st.sampled_from([0, 5, -100, FIRST_STEP, LAST_STEP - 200]))
    late = draw(st.dictionaries(SEVERAL, st.integers(-9_000, 9_000), max_size=2))
    values = draw(st.lists(VALUES, min_size=1, max_size=60))
    return [(begin + stride * i, pace * i + late.get(i, 0), value) for i, value in enumerate(values)]


@st.composite
def parts(draw: st.DrawFn) -> tuple[list[list[Point]], list[Point]]:
    """Points of one series in segments and hot batches; some of them again, as a repeated request leaves them."""
    unusual = st.lists(st.tuples(STEPS, TIMES, VALUES), max_size=20)
    points = draw(usual() | unusual)
    size = draw(st.sampled_from([1, 3, 10, 25]))
    pieces = [points[start : start + size] for start in range(0, len(points), size)]
    if points:  # overlapping segments, some of them regular
        pieces += [
            draw(st.lists(st.sampled_from(points), max_size=2)),
            draw(unusual),
            *draw(st.lists(usual(), max_size=2)),
        ]
        pieces = draw(st.permutations(pieces))
    hot = draw(st.integers(0, min(2, len(pieces))))
    return pieces[: len(pieces) - hot], [point for piece in pieces[len(pieces) - hot :] for point in piece]


ATTEMPTS = st.lists(parts(), min_size=1, max_size=2)


async def store(database: Database, attempts: list[tuple[list[list[Point]], list[Point]]]) -> tuple[UUID, list[Row]]:
    """A run with these attempts of rank 3, and others of rank 4 that nobody may see; and its rows."""
    if await database.fetchval("SELECT visible_epoch FROM watermark") == 0:
        await prepare(database)
    run_id = await make_run(database)
    for attempt, (segments, hot) in enumerate(attempts):
        await put(database, run_id, "loss", segments=segments, hot=hot, rank=3, attempt=attempt)
        await put(database, run_id, "loss", segments=[[(1, 1, 5.0)]], hot=hot, rank=4, attempt=attempt)
    return UUID(run_id), sorted(
        {row_of(point) for segments, hot in attempts for piece in [*segments, hot] for point in piece}
    )


def row_of(point: Point) -> Row:
    step, us, value = point
    is_nan = math.isnan(value)
    return step, us // 1_000, 0.0 if is_nan else max(-LARGEST, min(LARGEST, value)), is_nan


def rows_in(rows: MetricRows) -> list[Row]:
    columns = zip(rows.step.tolist(), rows.timestamp_ms.tolist(), rows.value.tolist(), strict=True)
    return [(step, ms, 0.0 if math.isnan(value) else value, math.isnan(value)) for step, ms, value in columns]


def by_time(row: Row) -> Any:
    step, ms, value, is_nan = row
    return ms, step, value, is_nan


def ntile(rows: list[Row], count: int) -> list[Row]:
    """The definition: the first row of each of SQL's NTILE(count), and the last row."""
    if len(rows) <= count:
        return rows
    size, larger = divmod(len(rows), count)
    found, start = [], 0
    for bucket in range(count):
        found.append(rows[start])
        start += size + (bucket < larger)
    return [*found[:-1], rows[-1]]


@WITH_DATABASE
@given(attempts=ATTEMPTS, bounds=st.none() | st.tuples(STEPS, STEPS), count=st.integers(1, 80))
async def test_samples_of_random_points_are_those_of_the_points(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    attempts: list[tuple[list[list[Point]], list[Point]]],
    bounds: tuple[int, int] | None,
    count: int,
) -> None:
    monkeypatch.setattr(downsample, "MIN_POINTS_PER_SAMPLE", 0)  # single points are read wherever they may be
    run_id, rows = await store(database, attempts)
    low, high = sorted(bounds) if bounds else (FIRST_STEP, LAST_STEP)
    metrics = RunMetrics(ReadPool(database, max_reads=1))
    found = await metrics.samples(CALLER, [run_id], "loss", (low, high), count)
    wanted = ntile([row for row in rows if low <= row[0] <= high], count)
    assert {whose: rows_in(its) for whose, its in found.items()} == ({run_id.hex: wanted} if wanted else {})


@WITH_DATABASE
@given(attempts=ATTEMPTS, limit=st.integers(1, 12))
async def test_pages_of_random_points_are_the_points_by_time(
    database: Database, attempts: list[tuple[list[list[Point]], list[Point]]], limit: int
) -> None:
    run_id, rows = await store(database, attempts)
    rows.sort(key=by_time)
    metrics = RunMetrics(ReadPool(database, max_reads=1))
    everything, nothing = await metrics.history(CALLER, run_id, "loss")
    assert (rows_in(everything), nothing) == (rows, None)
    pages, after = [], None
    while True:
        page, after = await metrics.history(CALLER, run_id, "loss", after=after, limit=limit)
        pages.append(rows_in(page))
        if after is None:
            break
    assert pages == ([rows[start : start + limit] for start in range(0, len(rows), limit)] or [[]])
    first = await metrics.first_rows(CALLER, [run_id], "loss", limit)
    assert [row for _, its in first for row in rows_in(its)] == rows[:limit]
