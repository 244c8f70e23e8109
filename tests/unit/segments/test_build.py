"""Points -> segments, against plain Python on lists."""

from __future__ import annotations

import itertools
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.segments.build import MAX_POINTS, build_segments
from runstream_service.segments.points import Points, concatenate, in_order, latest_points, series_starts
from tests.support.points import POINT, Point, columns


def rows(points: Points) -> list[tuple[int, int, int, bytes]]:
    """Values as bytes: only so are NaN equal and -0.0 and 0.0 different."""
    return [
        (series, step, time, struct.pack("d", value))
        for series, step, time, value in zip(
            points.series_id.tolist(), points.step.tolist(), points.time.tolist(), points.value.tolist(), strict=True
        )
    ]


@given(st.lists(POINT, max_size=60))
def test_in_order_sorts_as_a_stable_sort_of_tuples_does(points: list[tuple[int, int, int, float]]) -> None:
    ordered = in_order(columns(points))
    assert rows(ordered) == rows(columns(sorted(points, key=lambda point: point[:3])))


@given(st.lists(POINT, min_size=1, max_size=60))
def test_segments_say_of_their_points_what_python_does(points: list[tuple[int, int, int, float]]) -> None:
    ordered = in_order(columns(points))
    segments = build_segments(ordered)
    assert segments.starts.tolist() == [0, *np.cumsum(segments.counts)[:-1].tolist()]
    for i, start in enumerate(segments.starts.tolist()):
        part = ordered.take(slice(start, start + int(segments.counts[i])))
        step, time, value = part.step.tolist(), part.time.tolist(), part.value.tolist()
        assert set(part.series_id.tolist()) == {segments.series_id[i]}
        assert (segments.first_step[i], segments.last_step[i]) == (step[0], step[-1])
        assert (segments.min_time[i], segments.max_time[i]) == (min(time), max(time))
        assert segments.time_ordered[i] == all(a <= b for a, b in itertools.pairwise(time))
        assert segments.times_as_int32[i] == (max(time) - min(time) < 2**31)
        _same(segments.first_value[i], value[0])
        _same(segments.last_value[i], value[-1])
        finite = [v for v in value if math.isfinite(v)]
        assert segments.finite_count[i] == len(finite)
        if finite:
            assert (segments.min_value[i], segments.max_value[i]) == (min(finite), max(finite))
            if max(map(abs, finite)) < 1e300:
                assert segments.sum_value[i] == pytest.approx(
                    math.fsum(finite), rel=1e-9, abs=1e-9 * max(map(abs, finite))
                )
        assert segments.values_as_float32[i] == all(v != v or _is_real(v) for v in value)
        strides = {b - a for a, b in itertools.pairwise(step)} or {0}
        regular = len(strides) == 1 and step[-1] - step[0] < 2**63
        assert segments.regular_steps[i] == regular
        if regular:
            stride = int(segments.step_stride[i])
            assert [step[0] + j * stride for j in range(len(step))] == step


@given(st.lists(POINT, min_size=1, max_size=40))
def test_the_latest_point_is_the_greatest_where_nan_compares_as_0(points: list[tuple[int, int, int, float]]) -> None:
    found = latest_points(in_order(columns(points)))

    def key(point: Point) -> tuple[int, int, float]:
        return point[1], point[2], 0.0 if math.isnan(point[3]) else point[3]

    for series, step, time, value in zip(
        found.series_id.tolist(), found.step.tolist(), found.time.tolist(), found.value.tolist(), strict=True
    ):
        assert key((series, step, time, value)) == max(key(point) for point in points if point[0] == series)
    assert found.series_id.tolist() == sorted({point[0] for point in points})


def test_a_long_series_is_cut_into_full_segments_and_a_rest() -> None:
    count = 2 * MAX_POINTS + 5
    long = columns([(7, step, step, 0.5) for step in range(count)])
    segments = build_segments(concatenate([long, columns([(8, 0, 0, 1.0)])]))
    assert segments.counts.tolist() == [MAX_POINTS, MAX_POINTS, 5, 1]
    assert segments.series_id.tolist() == [7, 7, 7, 8]
    assert segments.first_step.tolist() == [0, MAX_POINTS, 2 * MAX_POINTS, 0]


def test_late_points_of_one_series_leave_the_others_as_they_are() -> None:
    shuffled = [(2, step, 0, float(step)) for step in (3, 1, 2, 1)]
    points = [(1, 1, 0, 1.0), *shuffled, (3, 1, 0, 1.0), (1, 2, 0, 2.0), (3, 5, 0, 5.0)]
    assert rows(in_order(columns(points))) == rows(columns(sorted(points, key=lambda p: p[:3])))


def test_no_points_make_no_segments() -> None:
    nothing = in_order(columns([]))
    for found in (nothing, series_starts(nothing), build_segments(nothing), latest_points(nothing)):
        assert len(found) == 0


def _is_real(value: float) -> bool:
    try:
        return bool(struct.unpack("f", struct.pack("f", value))[0] == value)
    except OverflowError:
        return False


def _same(left: float, right: float) -> None:
    assert struct.pack("d", left) == struct.pack("d", right)
