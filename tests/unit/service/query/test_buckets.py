"""How the axis is divided into buckets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.query.charts.buckets import Distinct, EqualLogWidth, EqualWidth, bucket_starts, even_buckets

INT64 = st.integers(-(2**63), 2**63 - 1)


ORIGINS = st.none() | st.just(0) | INT64


@given(st.lists(INT64, min_size=1, max_size=30), st.integers(1, 10_000), ORIGINS)
def test_buckets_are_in_the_order_of_positions_and_not_too_many(
    positions: list[int], count: int, log_origin: int | None
) -> None:
    positions.sort()
    bucketing = even_buckets(positions[0], positions[-1], log_origin, count)
    buckets = bucketing.bucket_of(np.array(positions, np.int64)).tolist()
    assert buckets == sorted(buckets)
    assert 0 <= buckets[0] <= buckets[-1] < count
    if log_origin is None and positions[-1] - positions[0] < count:
        assert len(set(buckets)) == len(set(positions))


@given(INT64, INT64, st.integers(1, 10_000), ORIGINS)
def test_a_bucket_begins_at_its_edge(one: int, other: int, count: int, log_origin: int | None) -> None:
    bucketing = even_buckets(min(one, other), max(one, other), log_origin, count)
    last = int(bucketing.bucket_of(np.array([max(one, other)]))[0])
    edges = bucketing.edges[: last + 1]
    assert (bucketing.bucket_of(edges) >= np.arange(last + 1)).all()
    inside = np.flatnonzero(edges > min(one, other))
    assert (bucketing.bucket_of(edges[inside] - 1) < inside).all()


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.integers(1, 150))
def test_points_are_divided_where_their_bucket_changes(positions: list[int], count: int) -> None:
    position = np.sort(np.array(positions))
    low, high = int(position[0]), int(position[-1])
    for bucketing in (
        EqualWidth(low, high, count),
        EqualLogWidth(low, high, 0, count),
        EqualLogWidth(low, high, -20, count),
        Distinct(np.unique(position)),
    ):
        bucket = bucketing.bucket_of(position)
        starts = bucket_starts(bucketing, position)
        assert starts.tolist() == np.flatnonzero(np.diff(bucket, prepend=-1)).tolist()


def test_edges_that_are_whole_numbers_are_exact() -> None:
    bucketing = EqualWidth(-500_000, 499_999, 1_000)
    starts = np.arange(-500_000, 500_000, 1_000)
    assert (bucketing.bucket_of(starts) == np.arange(1_000)).all()
    assert (bucketing.bucket_of(starts + 999) == np.arange(1_000)).all()


def test_buckets_of_a_logarithmic_axis_are_even_on_it() -> None:
    bucketing = EqualLogWidth(0, 10**6, 0, 600)
    position = np.arange(10**6 + 1)
    bucket = bucketing.bucket_of(position)
    assert bucket[0] == bucket[1] == 0
    assert len(np.unique(bucket[1:40])) == 39, "near the origin each step has a bucket"
    starts = np.flatnonzero(np.diff(bucket))[200:] + 1
    assert np.allclose(np.diff(np.log10(starts)), 6 / 600, rtol=0.05)
    assert bucket[-1] == 599
    first = np.arange(1, 10**6, 1_000)
    whole = bucketing.fits_one_bucket(first, first + 999)
    assert whole[first > 35_000].all()
    assert not whole[first < 20_000].any()


def test_segments_about_as_long_as_a_bucket_go_in_whole_and_use_most_buckets() -> None:
    for points in range(600, 1_500):
        bucketing = EqualWidth(0, 999_999, 1_000)
        first = np.arange(0, 1_000_000, points)
        last = np.minimum(first + points - 1, 999_999)
        assert bucketing.fits_one_bucket(first, last).all()
        assert len(np.unique(bucketing.bucket_of(first))) >= 660
    assert not bucketing.fits_one_bucket(np.array([100]), np.array([1_700])).any()
    assert bucketing.fits_one_bucket(np.array([-(2**63)]), np.array([2**63 - 1])).tolist() == [False]


def test_table_has_a_bucket_for_each_step() -> None:
    bucketing = Distinct(np.array([-5, 3, 10**12]))
    assert bucketing.bucket_of(np.array([3, -5, 10**12])).tolist() == [1, 0, 2]
    assert bucketing.fits_one_bucket(np.array([3, 3]), np.array([3, 10**12])).tolist() == [True, False]
