"""Combines points and summaries of segments into buckets.

A bucket consists of partial aggregates. A partial aggregate stands for some neighbouring points, or for a whole
segment, and belongs to one bucket as a whole. Partial aggregates may come in any order: their keys decide which one is
first and which is last in a bucket. A key is a pair (position, tiebreaker) at which a partial aggregate begins or ends.
On the step axis the position is the step and the tiebreaker the time; on the time axis it is the other way round.

A segment that is one partial aggregate overlaps no other one (curves.py ensures that), so its bounds are enough as
keys.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

# A segment may reach beyond its bucket if it is at most as long as this many buckets. So no arrays are read of segments
# of this length, and at least two of three buckets have points.
WHOLE_SEGMENT_BUCKETS = 1.5
# Sums that overflow are computed again from values that are scaled down by this factor. What is lost is far below their
# precision.
_SCALE = 2.0**-80

_BELOW_64_BITS = 2.0**64 - 2.0**11


class Bucketing(Protocol):
    """Assigns positions to buckets; a higher position never has a lower bucket."""

    count: int

    def bucket_of(self, position: Int64) -> Int64:
        """The bucket of each position, from 0."""
        ...

    @property
    def edges(self) -> Int64:
        """For each bucket, the least position that is not in an earlier bucket; for buckets above the last position,
        any."""
        ...

    def fits_one_bucket(self, first: Int64, last: Int64) -> NDArray[np.bool_]:
        """Whether each span may be put, as a whole, into the bucket of its first position."""
        ...


class EqualWidth:
    """Buckets of equal width from `low` to `high`, both included."""

    def __init__(self, low: int, high: int, count: int) -> None:
        self.count = count
        self._low = np.int64(low)
        self._high = np.int64(high)
        self._width = (high - low + 1) / count

    def bucket_of(self, position: Int64) -> Int64:
        """The bucket of each position. Positions outside of the range belong to the first or last bucket."""
        inside = np.clip(position, self._low, self._high)
        # Offsets have up to 64 bits. Division keeps edges that are whole numbers exact; a factor would not.
        bucket = _offset(inside, self._low) / self._width
        return np.minimum(bucket.astype(np.int64), self.count - 1)

    @functools.cached_property
    def edges(self) -> Int64:
        """The first position of each bucket. As division and multiplication round, products are checked; if any is not
        exactly where `bucket_of` changes, edges are found by a binary search."""
        number = np.arange(self.count)
        span = np.uint64(int(self._high) - int(self._low))
        edge = np.minimum(np.minimum(np.ceil(number * self._width), _BELOW_64_BITS).astype(np.uint64), span)
        below = edge - np.minimum(edge, np.uint64(1))
        if not self._reaches(edge, number).all() or self._reaches(below, number)[1:].any():
            below, edge = np.zeros(self.count, np.uint64), np.full(self.count, span)
            for _ in range(int(span).bit_length() + 1):
                middle = below + (edge - below) // np.uint64(2)
                reaches = self._reaches(middle, number)
                edge = np.where(reaches, middle, edge)
                below = np.where(reaches, below, np.minimum(middle + np.uint64(1), edge))
        edges: Int64 = self._low + edge.view(np.int64)
        return edges

    def _reaches(self, offset: NDArray[np.uint64], number: Int64) -> NDArray[np.bool_]:
        reaches: NDArray[np.bool_] = self.bucket_of(self._low + offset.view(np.int64)) >= number
        return reaches

    def fits_one_bucket(self, first: Int64, last: Int64) -> NDArray[np.bool_]:
        """True for spans within one bucket, and for spans that are not much longer than a bucket."""
        near: NDArray[np.bool_] = _offset(last, first) <= WHOLE_SEGMENT_BUCKETS * self._width
        same: NDArray[np.bool_] = self.bucket_of(first) == self.bucket_of(last)
        return near | same


class EqualLogWidth:
    """Buckets from `low` to `high`, both included, of equal width on a logarithmic axis of distances from `origin`.
    Positions at or below the origin are in the first bucket."""

    def __init__(self, low: int, high: int, origin: int, count: int) -> None:
        self.count = count
        self._high = np.int64(high)
        self.edges = self._edges(low, high, origin)

    def _edges(self, low: int, high: int, origin: int) -> Int64:
        """The first position of each bucket. Near the origin, where buckets are narrower than 1, several are equal."""
        span = high - origin
        if span <= 1:
            return np.array([low, *[high] * (self.count - 1)], np.int64)
        least = max(low - origin, 1)
        distance = np.ceil(least * (span / least) ** (np.arange(self.count) / self.count))
        distance = np.minimum(np.minimum(distance, _BELOW_64_BITS).astype(np.uint64), np.uint64(span))
        edges: Int64 = np.int64(origin) + distance.view(np.int64)
        edges[0] = low
        return edges

    def bucket_of(self, position: Int64) -> Int64:
        """The bucket of each position. Positions outside of the range belong to the first or last bucket."""
        bucket = np.searchsorted(self.edges, np.minimum(position, self._high), "right") - 1
        return np.maximum(bucket, 0).astype(np.int64)

    def fits_one_bucket(self, first: Int64, last: Int64) -> NDArray[np.bool_]:
        """True for spans within one bucket, and for spans that are not much longer than the bucket in which they
        begin."""
        begin = self.bucket_of(first)
        ends = np.append(self.edges[1:], self._high)
        near: NDArray[np.bool_] = _offset(last, first) <= WHOLE_SEGMENT_BUCKETS * _offset(ends, self.edges)[begin]
        same: NDArray[np.bool_] = begin == self.bucket_of(last)
        return near | same


def even_buckets(low: int, high: int, log_origin: int | None, count: int) -> EqualWidth | EqualLogWidth:
    """`count` buckets of equal width on a linear axis, or with `log_origin` on a logarithmic one."""
    return EqualWidth(low, high, count) if log_origin is None else EqualLogWidth(low, high, log_origin, count)


class Distinct:
    """One bucket for each of `positions`, which are sorted. No other positions may occur."""

    def __init__(self, positions: Int64) -> None:
        self.count = len(positions)
        self._positions = positions

    def bucket_of(self, position: Int64) -> Int64:
        """The index of each position."""
        return np.searchsorted(self._positions, position).astype(np.int64)

    @property
    def edges(self) -> Int64:
        """The positions themselves."""
        return self._positions

    def fits_one_bucket(self, first: Int64, last: Int64) -> NDArray[np.bool_]:
        """True for spans of a single position."""
        single: NDArray[np.bool_] = first == last
        return single


def _offset(position: Int64, start: Int64 | np.int64) -> Float64:
    """Distances from `start`. A difference of two int64 may overflow; read as unsigned, it is right."""
    return np.subtract(position, start).view(np.uint64).astype(np.float64)


@dataclass(slots=True)
class PartialAggregates:
    """Partial aggregates in columns: row i of each column is one. If no value is finite, min is +inf and max is -inf.
    `sum` is the sum of the finite values."""

    first_position: Int64
    first_tiebreaker: Int64
    last_position: Int64
    last_tiebreaker: Int64
    point_count: Int64
    finite_count: Int64
    first: Float64
    last: Float64
    min: Float64
    max: Float64
    sum: Float64
    small_sum: Float64  # `sum`, scaled down so that it never overflows

    def __len__(self) -> int:
        return len(self.first_position)


def scaled(sums: Float64) -> Float64:
    """The `small_sum` of sums that did not overflow."""
    return sums * _SCALE


def partials_of_points(bucketing: Bucketing, position: Int64, tiebreaker: Int64, value: Float64) -> PartialAggregates:
    """Partial aggregates of sorted points of one curve: one for each bucket that they are in."""
    starts = bucket_starts(bucketing, position)
    ends = np.append(starts[1:], len(position)) - 1
    return partials_at(starts, position, tiebreaker[starts], tiebreaker[ends], value)


def bucket_starts(bucketing: Bucketing, position: Int64) -> NDArray[np.intp]:
    """The indexes at which buckets begin, in sorted positions.

    There are usually far fewer buckets than points. So edges are searched among the positions, which takes a small part
    of the time of computing the bucket of each position.
    """
    first, last = bucketing.bucket_of(position[[0, -1]]).tolist()
    if last - first > len(position):
        return np.flatnonzero(np.diff(bucketing.bucket_of(position), prepend=-1))
    starts = np.searchsorted(position, bucketing.edges[first + 1 : last + 1], "left")
    starts = starts[np.flatnonzero(np.diff(starts, prepend=0))]
    return np.concatenate([[0], starts[starts < len(position)]])


def partials_at(
    starts: NDArray[np.intp], position: Int64, first_tiebreaker: Int64, last_tiebreaker: Int64, value: Float64
) -> PartialAggregates:
    """Partial aggregates of consecutive points; each begins at an index of `starts`, which is sorted, begins with 0 and
    has no duplicates. Points must be sorted within each, where equal positions keep their order. The tiebreakers are
    those of the first and last point of each."""
    ends = np.append(starts[1:], len(position)) - 1
    count = ends - starts + 1
    finite = np.isfinite(value)
    if finite.all():
        low = high = terms = value
        finite_count = count
    else:
        low, high, terms = (np.where(finite, value, other) for other in (np.inf, -np.inf, 0.0))
        finite_count = np.add.reduceat(finite, starts, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(terms, starts)
    small = scaled(sums) if np.isfinite(sums).all() else np.add.reduceat(terms * _SCALE, starts)
    return PartialAggregates(
        first_position=position[starts],
        first_tiebreaker=first_tiebreaker,
        last_position=position[ends],
        last_tiebreaker=last_tiebreaker,
        point_count=count.astype(np.int64),
        finite_count=finite_count.astype(np.int64),
        first=value[starts],
        last=value[ends],
        min=np.minimum.reduceat(low, starts),
        max=np.maximum.reduceat(high, starts),
        sum=sums,
        small_sum=small,
    )


@dataclass(slots=True)
class Buckets:
    """Buckets in columns: one row for each bucket that has points, in the order of the axis. If no value of a bucket is
    finite, its min, max and mean are NaN."""

    number: Int64
    first_position: Int64
    last_position: Int64
    point_count: Int64
    finite_count: Int64
    first: Float64
    last: Float64
    min: Float64
    max: Float64
    mean: Float64
    is_draft: bool = False  # there are fewer buckets than were asked for; see ChartQuery.draft

    def __len__(self) -> int:
        return len(self.number)


def buckets_of(bucketing: Bucketing, parts: Sequence[PartialAggregates]) -> Buckets:
    """Combine the partial aggregates of a curve, which may be in any order, into its buckets."""
    partials = _joined(parts)
    if not len(partials):
        return _no_buckets()
    bucket = bucketing.bucket_of(partials.first_position)
    begin = (partials.first_tiebreaker, partials.first_position)
    end = (partials.last_tiebreaker, partials.last_position)
    # If two begin at the same key, the one that ends first is first: it is one point, or several equal points.
    by_begin = np.lexsort((*end, *begin, bucket))
    by_end = np.lexsort((*begin, *end, bucket))
    number = bucket[by_begin]
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    firsts = by_begin[starts]
    lasts = by_end[np.append(starts[1:], len(partials)) - 1]
    finite_count = np.add.reduceat(partials.finite_count[by_begin], starts)
    least = np.minimum.reduceat(partials.min[by_begin], starts)
    most = np.maximum.reduceat(partials.max[by_begin], starts)
    least[finite_count == 0] = most[finite_count == 0] = np.nan
    return Buckets(
        number=number[starts],
        first_position=partials.first_position[firsts],
        last_position=partials.last_position[lasts],
        point_count=np.add.reduceat(partials.point_count[by_begin], starts),
        finite_count=finite_count,
        first=partials.first[firsts],
        last=partials.last[lasts],
        min=least,
        max=most,
        # Rounding must not move the mean out of the range of the values.
        mean=np.clip(_means(partials, by_begin, starts, finite_count), least, most),
    )


def _means(partials: PartialAggregates, order: NDArray[np.intp], starts: NDArray[np.intp], count: Int64) -> Float64:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean = np.add.reduceat(partials.sum[order], starts) / count
        if np.isfinite(mean).all():
            return mean
        small = np.add.reduceat(partials.small_sum[order], starts) / count / _SCALE
        return np.where(np.isfinite(mean), mean, small)


def buckets_of_points(position: Int64, value: Float64) -> Buckets:
    """One bucket for each point."""
    finite = np.isfinite(value)
    known = np.where(finite, value, np.nan)
    return Buckets(
        number=np.arange(len(position), dtype=np.int64),
        first_position=position,
        last_position=position,
        point_count=np.ones(len(position), np.int64),
        finite_count=finite.astype(np.int64),
        first=value,
        last=value,
        min=known,
        max=known,
        mean=known,
    )


def _joined(parts: Sequence[PartialAggregates]) -> PartialAggregates:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        none, no_values = np.zeros(0, np.int64), np.zeros(0)
        return PartialAggregates(none, none, none, none, none, none, *[no_values] * 6)
    return PartialAggregates(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(PartialAggregates))
    )


def _no_buckets() -> Buckets:
    return buckets_of_points(np.zeros(0, np.int64), np.zeros(0))
