"""Charts and histories of random points, in random segments and hot batches, against the points themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream_service.database.pool import Database
from runstream_service.query.charts.buckets import Buckets
from runstream_service.query.charts.chart import Chart, ChartQuery
from runstream_service.query.charts.curves import Axis
from runstream_service.query.history.history import History, HistoryQuery
from runstream_service.query.reading.columns import Columns
from runstream_service.query.reading.read_transaction import ReadPool
from runstream_service.query.reading.series import Series
from tests.support.callers import caller_in
from tests.support.examples import examples
from tests.support.stored import Point, make_run, prepare, put

CALLER = caller_in(1)
WITH_DATABASE = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 1.7976931348623157e308, -1.7976931348623157e308]),
    st.floats(width=32),
    st.floats(),
)
# Few different steps and times, so that many meet; and some far away.
STEPS = st.one_of(st.integers(0, 40), st.integers(0, 1000), st.sampled_from([-(2**63), 2**63 - 1, -5, 10**12]))
TIMES = st.one_of(st.integers(0, 40), st.integers(0, 10**10), st.sampled_from([-(10**16), 2 * 10**17]))


@st.composite
def parts(draw: st.DrawFn) -> tuple[list[list[Point]], list[Point]]:
    """Points of one series in segments and hot batches. No two have the same step and time, except repetitions."""
    if draw(st.booleans()):
        whose = draw(st.dictionaries(st.tuples(STEPS, TIMES), VALUES, max_size=60))
        points = [(step, us, value) for (step, us), value in whose.items()]
    else:  # a usual run
        stride, values = draw(st.integers(1, 3)), draw(st.lists(VALUES, max_size=80))
        points = [(stride * i, 1000 * i, value) for i, value in enumerate(values)]
    if points:
        points += draw(st.lists(st.sampled_from(points), max_size=3))
    if draw(st.booleans()):
        points.sort(key=lambda point: point[:2])
    size = draw(st.integers(1, 12))
    pieces = [points[start : start + size] for start in range(0, len(points), size)]
    hot = draw(st.sets(st.integers(0, max(0, len(pieces) - 1)))) if draw(st.booleans()) else set()
    return (
        [piece for i, piece in enumerate(pieces) if i not in hot],
        [point for i in sorted(hot) if i < len(pieces) for point in pieces[i]],
    )


def bits(value: float) -> Any:
    """A key of a value: equal for equal values, and for all NaN."""
    return "nan" if math.isnan(value) else (value, math.copysign(1, value))


def everything(stored: tuple[list[list[Point]], list[Point]]) -> list[Point]:
    segments, hot = stored
    return [point for piece in [*segments, hot] for point in piece]


def mean_of(values: Sequence[float]) -> Fraction:
    """The exact sum of values."""
    return sum(map(Fraction, values), Fraction(0)) / len(values)


def newest_wins(attempts: Sequence[list[Point]]) -> list[Point]:
    """The definition: a newer attempt replaces all from its first step on."""
    kept: list[Point] = []
    for points in attempts:
        if points:
            first = min(step for step, _, _ in points)
            kept = [point for point in kept if point[0] < first] + points
    return kept


async def chart(database: Database, **query: Any) -> list[tuple[Series, Buckets]]:
    found = []

    async def emit(series: Series, buckets: Buckets) -> None:
        found.append((series, buckets))

    await Chart(ReadPool(database, max_reads=1)).read(CALLER, ChartQuery(**query), emit)
    return found


def check(buckets: Buckets, points: list[Point], axis: Axis, max_buckets: int) -> None:
    """Checks that every point is in one bucket, in order, and that each bucket describes its points."""

    def key(point: Point) -> tuple[int, int]:
        return point[:2] if axis is Axis.STEP else (point[1], point[0])

    points = sorted(points, key=key)
    assert len(buckets) <= max_buckets
    assert buckets.point_count.sum() == len(points)
    if len(points) <= max_buckets:
        assert len(buckets) == len(points)
    start = 0
    for i, count in enumerate(buckets.point_count.tolist()):
        assert count > 0
        inside = points[start : start + count]
        start += count
        assert (buckets.first_position[i], buckets.last_position[i]) == (key(inside[0])[0], key(inside[-1])[0])
        assert bits(buckets.first[i]) == bits(inside[0][2])
        assert bits(buckets.last[i]) == bits(inside[-1][2])
        finite = [value for _, _, value in inside if math.isfinite(value)]
        assert buckets.finite_count[i] == len(finite)
        if not finite:
            assert math.isnan(buckets.min[i])
            assert math.isnan(buckets.max[i])
            assert math.isnan(buckets.mean[i])
            continue
        assert (buckets.min[i], buckets.max[i]) == (min(finite), max(finite))
        error = 1e-12 * max(1e-310, *map(abs, finite))
        assert buckets.mean[i] == pytest.approx(float(mean_of(finite)), rel=1e-12, abs=error)


BOUNDS = st.none() | STEPS | TIMES


@pytest.fixture
def few_points_make_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts are of curves with many points otherwise."""
    monkeypatch.setattr("runstream_service.query.charts.chart._POINTS_OF_A_DRAFT", 0)
    monkeypatch.setattr("runstream_service.query.charts.chart._LEAST_OF_A_DRAFT", 2)


@WITH_DATABASE
@given(
    attempts=st.lists(parts(), min_size=1, max_size=3),
    axis=st.sampled_from(Axis),
    bounds=st.tuples(BOUNDS, BOUNDS),
    max_buckets=st.integers(1, 30),
    log_origin=st.none() | STEPS | TIMES,
    draft=st.booleans(),
)
async def test_buckets_of_random_points_are_those_of_the_points(
    database: Database,
    attempts: list[tuple[list[list[Point]], list[Point]]],
    axis: Axis,
    bounds: tuple[int | None, int | None],
    max_buckets: int,
    log_origin: int | None,
    draft: bool,
    few_points_make_drafts: None,
) -> None:
    if await database.fetchval("SELECT visible_epoch FROM watermark") == 0:
        await prepare(database)
    run_id = await make_run(database)
    for attempt, (segments, hot) in enumerate(attempts):
        await put(database, run_id, "k", segments=segments, hot=hot, attempt=attempt)
    low = -math.inf if bounds[0] is None else bounds[0]
    high = math.inf if bounds[1] is None else bounds[1]
    at = 0 if axis is Axis.STEP else 1
    expected = [point for point in newest_wins([everything(one) for one in attempts]) if low <= point[at] <= high]
    answer = await chart(
        database,
        run_ids=[run_id],
        axis=axis,
        min_position=bounds[0],
        max_position=bounds[1],
        max_buckets=max_buckets,
        log_origin=log_origin,
        draft=draft,
    )
    assert len(answer) == (1 if expected else 0)
    for series, buckets in answer:
        newest = max(number for number, one in enumerate(attempts) if everything(one))
        assert series == Series(run_id, "k", 0, newest)
        check(buckets, expected, axis, max_buckets)
        assert draft or not buckets.is_draft


async def test_a_draft_has_fewer_buckets_and_all_points(database: Database) -> None:
    await prepare(database)
    run_id = await make_run(database)
    points = [(step, 1000 * step, float(step % 1_009)) for step in range(60_000)]
    await put(database, run_id, "k", segments=[points[start : start + 1_000] for start in range(0, 60_000, 1_000)])
    await put(database, run_id, "short", segments=[points[:1_000]])
    question = {"run_ids": [run_id], "max_buckets": 400}
    for log_origin in (None, 0):
        ((_, draft), (_, short)) = await chart(database, **question, draft=True, log_origin=log_origin)
        assert (draft.is_draft, 50 <= len(draft) <= 150) == (True, True)
        check(draft, points, Axis.STEP, 400)
        assert (short.is_draft, len(short) > 150) == (False, True)
        ((_, whole), _) = await chart(database, **question, log_origin=log_origin)
        assert (whole.is_draft, len(whole) > 200) == (False, True)


@WITH_DATABASE
@given(stored=parts(), low=st.none() | STEPS, high=st.none() | STEPS)
async def test_history_of_random_points_is_the_points(
    database: Database, stored: tuple[list[list[Point]], list[Point]], low: int | None, high: int | None
) -> None:
    if await database.fetchval("SELECT visible_epoch FROM watermark") == 0:
        await prepare(database)
    run_id = await make_run(database)
    await put(database, run_id, "k", segments=stored[0], hot=stored[1])
    found: list[Point] = []

    async def emit(series: Series, points: Columns) -> None:
        found.extend(zip(points.step.tolist(), points.time_unix_us.tolist(), points.value.tolist(), strict=True))

    query = HistoryQuery(run_id=run_id, min_step=low, max_step=high)
    await History(ReadPool(database, max_reads=1)).read(CALLER, query, emit)
    assert [point[:2] for point in found] == sorted(point[:2] for point in found)
    expected = [
        point for point in everything(stored) if (low is None or point[0] >= low) and (high is None or point[0] <= high)
    ]
    assert Counter((step, us, bits(value)) for step, us, value in found) == Counter(
        (step, us, bits(value)) for step, us, value in expected
    )
