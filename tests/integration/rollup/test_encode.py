"""What encode.py writes is what PostgreSQL reads, down to the bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream_service.segments.build import build_segments
from runstream_service.segments.encode import encode
from runstream_service.segments.points import in_order
from runstream_service.stores.segment_store import SegmentStore
from tests.integration.rollup.conftest import POINTS_OF_SEGMENTS, counted
from tests.support.examples import examples
from tests.support.markdown import ROOT, blocks_of
from tests.support.points import POINT, Point, columns


async def written(env, points: list[Point], epoch: int = 1) -> list[Any]:
    """Encode and copy; returns the rows of metric_segments."""
    await env.connection.execute("TRUNCATE metric_segments")
    await SegmentStore(env.connection).copy(encode(build_segments(in_order(columns(points))), epoch))
    rows: list[Any] = await env.connection.fetch("SELECT * FROM metric_segments ORDER BY series_id, first_step")
    return rows


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(points=st.lists(POINT, max_size=50))
async def test_any_points_come_back_from_the_arrays_as_they_went_in(env, points):
    rows = await written(env, points)
    assert sum(row["point_count"] for row in rows) == len(points)
    assert counted(await env.connection.fetch(POINTS_OF_SEGMENTS)) == counted(points)
    for row in rows:
        values = [value for series, _, _, value in points if series == row["series_id"]]
        finite = [value for value in values if math.isfinite(value)]
        assert row["finite_count"] == len(finite)
        if finite:
            assert (row["min_value"], row["max_value"]) == (min(finite), max(finite))
        else:
            assert (row["min_value"], row["max_value"], row["sum_value"]) == (None, None, None)
        times = [row[name] for name in ("time_residuals", "time_offsets", "times")]
        values_of_row = [row[name] for name in ("values_real", "values_double")]
        assert [array is not None for array in times].count(True) == 1
        assert [array is not None for array in values_of_row].count(True) == 1
        assert (row["time_stride"] is None) == (row["time_residuals"] is None)
        assert (row["step_stride"] is None) == (row["steps"] is not None)
        assert all(len(array) == row["point_count"] for array in (row["steps"], *times, *values_of_row) if array)


@pytest.mark.parametrize(
    ("steps", "stride"),
    [
        ([7], 0),
        ([3, 3, 3], 0),
        ([0, 1, 2, 3], 1),
        ([-10, 0, 10], 10),
        ([0, 1, 3], None),
        ([0, 1, 1, 2], None),
        ([-(2**63), 2**63 - 1], None),  # the distance does not fit
        ([-(2**63), -1, 2**63 - 2], None),  # the distances are equal, but their sum does not fit
        ([-(2**63), -1], 2**63 - 1),
        ([2**63 - 3, 2**63 - 2, 2**63 - 1], 1),
    ],
)
async def test_regular_steps_need_no_array(env, steps, stride):
    (row,) = await written(env, [(1, step, 0, 1.0) for step in steps])
    assert row["step_stride"] == stride
    assert row["steps"] == (None if stride is not None else steps)
    assert counted(await env.connection.fetch(POINTS_OF_SEGMENTS)) == counted([(1, step, 0, 1.0) for step in steps])


@pytest.mark.parametrize(
    ("times", "short"),
    [
        ([0, 0, 2**31 - 1], True),
        ([0, 0, 2**31], False),
        ([100_000, 0, 0], True),
        ([-63_082_281_600_000_000, 0, 1], False),
        ([-63_082_281_600_000_000, 0], False),  # a straight line, but too long for PostgreSQL's arithmetic
    ],
)
async def test_times_within_35_minutes_take_four_bytes(env, times, short):
    (row,) = await written(env, [(1, step, time, 1.0) for step, time in enumerate(times)])
    assert row["time_offsets"] == ([time - min(times) for time in times] if short else None)
    assert row["times"] == (None if short else times)
    assert (row["min_time"], row["max_time"], row["time_ordered"]) == (min(times), max(times), times == sorted(times))


@pytest.mark.parametrize(
    ("times", "stride"),
    [
        ([7], 0),
        ([3, 3, 3], 0),
        ([0, 100_000, 200_000], 100_000),
        ([0, 2**52], 2**52),
        ([0, 100_000 + 32_767, 200_000], 100_000),
        ([0, 100_000 + 32_768, 200_000], None),
        ([0, 100_000 - 32_768, 200_000], 100_000),
        ([0, 100_000 - 32_769, 200_000], None),
        ([32_768, 0], None),
        ([2, 0, 1], 1),
    ],
)
async def test_times_within_32_milliseconds_of_a_line_take_two_bytes(env, times, stride):
    points = [(1, step, time, 1.0) for step, time in enumerate(times)]
    (row,) = await written(env, points)
    assert row["time_stride"] == stride
    if stride is not None:
        assert row["time_residuals"] == [time - min(times) - i * stride for i, time in enumerate(times)]
    assert counted(await env.connection.fetch(POINTS_OF_SEGMENTS)) == counted(points)


@pytest.mark.parametrize(
    ("value", "real"),
    [
        (0.5, True), (-0.0, True), (math.nan, True), (math.inf, True), (-math.inf, True), (2.0**-149, True),
        (float(np.float32(0.1)), True), (float(np.finfo(np.float32).max), True),
        (0.1, False), (5e-324, False), (2.0**-150, False), (1e39, False), (16_777_217.0, False),
    ],
)  # fmt: skip
async def test_values_that_are_exactly_real_take_four_bytes(env, value, real):
    (row,) = await written(env, [(1, 0, 0, value)])
    column, other = ("values_real", "values_double") if real else ("values_double", "values_real")
    assert repr(row[column]) == repr([value])
    assert row[other] is None


async def test_a_sum_beyond_the_largest_double_is_infinite_and_nothing_else_breaks(env):
    (row,) = await written(env, [(1, 0, 0, 1.7e308), (1, 1, 0, 1.7e308)])
    assert (row["sum_value"], row["max_value"], row["finite_count"]) == (math.inf, 1.7e308, 2)


async def test_segments_of_several_epochs_and_kinds_can_be_written_at_once(env):
    points = [(1, 0, 0, 0.5), (2, 0, 0, 0.1), (2, 9, 0, 0.1), (2, 10, 2**40, 0.1), (3, 5, 0, math.nan)]
    segments = build_segments(in_order(columns(points)))
    await SegmentStore(env.connection).copy(encode(segments, np.array([4, 5, 6])))
    rows = await env.connection.fetch("SELECT series_id, epoch FROM metric_segments ORDER BY series_id")
    assert rows == [(1, 4), (2, 5), (3, 6)]
    assert counted(await env.connection.fetch(POINTS_OF_SEGMENTS)) == counted(points)


async def test_the_query_of_the_docs_shows_the_points_of_a_series(env):
    (block,) = [block for block in blocks_of(ROOT / "docs" / "storage.md") if block.language == "sql"]
    series = await env.new_series(2)
    points = [(series[0], step, 5 * step, value) for step, value in ((3, 0.5), (1, 0.1), (2, math.nan))]
    await env.append([*points, (series[1], 1, 1, 1.0)])
    await env.cycle()
    assert "series_id = 1 " in block.text
    rows = await env.connection.fetch(block.text.replace("series_id = 1 ", f"series_id = {series[0]} "))
    assert repr([tuple(row) for row in rows]) == repr(sorted(point[1:] for point in points))
