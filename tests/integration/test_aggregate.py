"""Aggregates over ranks, compared with their definition on the points themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream_service.database.pool import Database
from runstream_service.query.charts.aggregate import Aggregate, AggregateCurve, AggregateQuery
from runstream_service.query.reading.read_transaction import ReadPool
from tests.integration.test_chart_model import everything, mean_of, newest_wins, parts
from tests.support.callers import caller_in
from tests.support.examples import examples
from tests.support.stored import Point, make_run, prepare, put

CALLER = caller_in(1)


async def aggregate(database: Database, **query: Any) -> AggregateCurve:
    return await Aggregate(ReadPool(database, max_reads=1)).read(CALLER, AggregateQuery(**query))


def expected_row(points: dict[int, list[Point]]) -> tuple[Any, ...]:
    """The definition, for the points of each rank in one bucket."""
    finite = {
        rank: values
        for rank, inside in sorted(points.items())
        if (values := [value for _, _, value in inside if math.isfinite(value)])
    }
    steps = [step for inside in points.values() for step, _, _ in inside]
    odd = sum(not math.isfinite(value) for inside in points.values() for _, _, value in inside)
    if not finite:
        return min(steps), max(steps), 0, None, None, -1, -1, None, odd
    least = {rank: min(values) for rank, values in finite.items()}
    most = {rank: max(values) for rank, values in finite.items()}
    low, high = min(least.values()), max(most.values())
    means = [mean_of(values) for values in finite.values()]
    return (
        min(steps),
        max(steps),
        len(finite),
        low,
        high,
        next(rank for rank, value in least.items() if value == low),
        next(rank for rank, value in most.items() if value == high),
        float(sum(means) / len(means)),
        odd,
    )


def check(curve: AggregateCurve, expected: list[tuple[Any, ...]]) -> None:
    assert len(curve) == len(expected)
    for i, (first, last, count, low, high, min_rank, max_rank, mean, odd) in enumerate(expected):
        assert (curve.first_step[i], curve.last_step[i], curve.rank_count[i]) == (first, last, count)
        assert (curve.min_rank[i], curve.max_rank[i]) == (min_rank, max_rank)
        assert curve.non_finite_count[i] == odd
        if mean is None:
            assert math.isnan(curve.min[i])
            assert math.isnan(curve.max[i])
            assert math.isnan(curve.mean[i])
        else:
            assert (curve.min[i], curve.max[i]) == (low, high)
            assert curve.mean[i] == pytest.approx(mean, rel=1e-12, abs=1e-12 * max(abs(low), abs(high), 1e-310))


Stored = tuple[list[list[Point]], list[Point]]


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    ranks=st.dictionaries(st.integers(-1, 5), st.lists(parts(), min_size=1, max_size=2), min_size=1, max_size=4),
    low=st.none() | st.integers(0, 30),
    high=st.none() | st.integers(0, 60),
    max_buckets=st.integers(1, 100),
)
async def test_curve_of_random_points_is_that_of_the_points(
    database: Database, ranks: dict[int, list[Stored]], low: int | None, high: int | None, max_buckets: int
) -> None:
    if await database.fetchval("SELECT visible_epoch FROM watermark") == 0:
        await prepare(database)
    run_id = await make_run(database)
    kept: dict[int, list[Point]] = {}
    for rank, attempts in ranks.items():
        for attempt, (segments, hot) in enumerate(attempts):
            await put(database, run_id, "k", segments=segments, hot=hot, rank=rank, attempt=attempt)
        kept[rank] = [
            point
            for point in newest_wins([everything(one) for one in attempts])
            if (low is None or point[0] >= low) and (high is None or point[0] <= high)
        ]
    curve = await aggregate(database, run_id=run_id, key="k", min_step=low, max_step=high, max_buckets=max_buckets)
    steps = sorted({step for points in kept.values() for step, _, _ in points})
    if len(steps) <= max_buckets:  # each step is a bucket
        rows = []
        for step in steps:
            inside = {rank: [point for point in points if point[0] == step] for rank, points in kept.items()}
            rows.append(expected_row({rank: points for rank, points in inside.items() if points}))
        check(curve, rows)
        return
    assert 0 < len(curve) <= max_buckets
    first, last, _, least, most, _, _, _, odd = expected_row({rank: points for rank, points in kept.items() if points})
    assert (curve.first_step.min(), curve.last_step.max()) == (first, last)
    assert curve.non_finite_count.sum() == odd
    finite = curve.rank_count > 0
    assert (least is not None) == bool(finite.any())
    if least is not None:
        assert (curve.min[finite].min(), curve.max[finite].max()) == (least, most)
        for values, whose in ((curve.min, curve.min_rank), (curve.max, curve.max_rank)):
            for i in finite.nonzero()[0].tolist():
                assert any(point[2] == values[i] for point in kept[int(whose[i])])


async def test_wide_buckets_are_the_same_for_all_ranks_and_show_the_straggler(database: Database) -> None:
    await prepare(database)
    run_id = await make_run(database)
    for rank in range(4):
        points = [(step, step, 1.0 + rank / 10) for step in range(1_000)]
        if rank == 2:
            points[617] = (617, 617, 99.0)
        cut = 100 + 50 * rank
        pieces = [points[start : start + cut] for start in range(0, 900, cut)]
        await put(database, run_id, "t", segments=pieces, hot=points[len([p for x in pieces for p in x]) :], rank=rank)
    curve = await aggregate(database, run_id=run_id, key="t", max_buckets=100)
    assert len(curve) == 100
    assert set(curve.rank_count.tolist()) == {4}
    assert curve.first_step.tolist() == list(range(0, 1_000, 10))
    assert curve.max[61] == 99.0
    assert curve.max_rank.tolist() == [2 if i == 61 else 3 for i in range(100)]
    assert set(curve.min_rank.tolist()) == {0}
    # Segments are shorter than these buckets, and go in whole.
    wide = await aggregate(database, run_id=run_id, key="t", max_buckets=3)
    assert wide.max.max() == 99.0
    assert wide.max_rank[wide.max.argmax()] == 2


async def test_a_key_that_nobody_logged_is_an_empty_curve(database: Database) -> None:
    assert len(await aggregate(database, run_id=await make_run(database), key="k")) == 0
