"""Points and summaries of segments -> buckets.

An atom is in one bucket as a whole and is not divided any further: some neighbouring points, or a whole segment.
Buckets are made of atoms, and it does not matter in which order these come: keys decide which atom is first and which
is last in its bucket. A key is a pair of (position, tie) at which the atom begins or ends. On the step axis the
position is the step and the tie the time; on the time axis the other way round.

A segment that is one atom overlaps no other atom (curves.py ensures that), so bounds are enough as its keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

# A segment may reach beyond its bucket as long as it is not longer than this many buckets: with segments of equal
# length at least two of three buckets are used then, and no array is read.
WHOLE_SEGMENT_BUCKETS = 1.5
# Sums that overflow are computed again from values that are scaled down by this. The loss is far below their precision.
_SCALE = 2.0**-80


class Divider(Protocol):
    """Assigns positions to buckets. The bucket never decreases along the axis."""

    count: int

    def of(self, position: Int64) -> Int64:
        """The bucket of each position, from 0."""
        ...

    def takes_whole(self, first: Int64, last: Int64) -> NDArray[np.bool_]:
        """Which spans may be put as a whole into the bucket of their first position."""
        ...


class Grid:
    """Buckets of equal width from `low` to `high`, both included."""

    def __init__(self, low: int, high: int, count: int) -> None:
        self.count = count
        self._low = np.int64(low)
        self._high = np.int64(high)
        self._width = (high - low + 1) / count

    def of(self, position: Int64) -> Int64:
        """Positions outside of the range count as its ends."""
        inside = np.clip(position, self._low, self._high)
        # Offsets have up to 64 bits. Division keeps edges that are whole numbers exact; a factor would not.
        bucket = _offset(inside, self._low) / self._width
        return np.minimum(bucket.astype(np.int64), self.count - 1)

    def takes_whole(self, first: Int64, last: Int64) -> NDArray[np.bool_]:
        """Spans within one bucket, and spans that are not much longer than a bucket."""
        near: NDArray[np.bool_] = _offset(last, first) <= WHOLE_SEGMENT_BUCKETS * self._width
        same: NDArray[np.bool_] = self.of(first) == self.of(last)
        return near | same


class Table:
    """One bucket for each position; no other positions occur."""

    def __init__(self, positions: Int64) -> None:
        self.count = len(positions)
        self._positions = positions

    def of(self, position: Int64) -> Int64:
        """The index among the positions."""
        return np.searchsorted(self._positions, position).astype(np.int64)

    def takes_whole(self, first: Int64, last: Int64) -> NDArray[np.bool_]:
        """Spans with a single position."""
        single: NDArray[np.bool_] = first == last
        return single


def _offset(position: Int64, start: Int64 | np.int64) -> Float64:
    """Distances of up to 64 bits. The difference may wrap around, but is correct when read as unsigned."""
    return np.subtract(position, start).view(np.uint64).astype(np.float64)


@dataclass(slots=True)
class Atoms:
    """Atoms in columns. If no value is finite, min and max are infinite; the sum is that of the finite values."""

    first_position: Int64
    first_tie: Int64
    last_position: Int64
    last_tie: Int64
    point_count: Int64
    finite_count: Int64
    first: Float64
    last: Float64
    min: Float64
    max: Float64
    sum: Float64
    small_sum: Float64  # the same, scaled, which never overflows

    def __len__(self) -> int:
        return len(self.first_position)


def scaled(sums: Float64) -> Float64:
    """Values of `small_sum` for sums that did not overflow."""
    return sums * _SCALE


def atoms_of_points(
    divider: Divider, position: Int64, first_tie: Int64, last_tie: Int64, value: Float64, breaks: NDArray[np.bool_]
) -> Atoms:
    """Atoms of the points of one curve: a new atom begins with each bucket, and where `breaks` is set.

    Positions must not decrease except at breaks. Points with equal positions in one atom keep their order.
    """
    bucket = divider.of(position)
    starts = np.flatnonzero(breaks | (np.diff(bucket, prepend=-1) != 0))
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
    return Atoms(
        first_position=position[starts],
        first_tie=first_tie[starts],
        last_position=position[ends],
        last_tie=last_tie[ends],
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
    """One row per bucket that has points, in the order of the axis. If no value is finite, min, max, mean are NaN."""

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

    def __len__(self) -> int:
        return len(self.number)


def buckets_of(divider: Divider, parts: Sequence[Atoms]) -> Buckets:
    """The buckets of all atoms of a curve, which may be in any order."""
    atoms = _joined(parts)
    if not len(atoms):
        return _no_buckets()
    bucket = divider.of(atoms.first_position)
    begin = (atoms.first_tie, atoms.first_position)
    end = (atoms.last_tie, atoms.last_position)
    # Of two atoms with the same beginning, the one that ends first is first: it is one point, or several equal points.
    by_begin = np.lexsort((*end, *begin, bucket))
    by_end = np.lexsort((*begin, *end, bucket))
    number = bucket[by_begin]
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    firsts = by_begin[starts]
    lasts = by_end[np.append(starts[1:], len(atoms)) - 1]
    finite_count = np.add.reduceat(atoms.finite_count[by_begin], starts)
    least = np.minimum.reduceat(atoms.min[by_begin], starts)
    most = np.maximum.reduceat(atoms.max[by_begin], starts)
    least[finite_count == 0] = most[finite_count == 0] = np.nan
    return Buckets(
        number=number[starts],
        first_position=atoms.first_position[firsts],
        last_position=atoms.last_position[lasts],
        point_count=np.add.reduceat(atoms.point_count[by_begin], starts),
        finite_count=finite_count,
        first=atoms.first[firsts],
        last=atoms.last[lasts],
        min=least,
        max=most,
        # Rounding must not move the mean out of the range of the values.
        mean=np.clip(_means(atoms, by_begin, starts, finite_count), least, most),
    )


def _means(atoms: Atoms, order: NDArray[np.intp], starts: NDArray[np.intp], count: Int64) -> Float64:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean = np.add.reduceat(atoms.sum[order], starts) / count
        if np.isfinite(mean).all():
            return mean
        small = np.add.reduceat(atoms.small_sum[order], starts) / count / _SCALE
        return np.where(np.isfinite(mean), mean, small)


def buckets_of_points(position: Int64, value: Float64) -> Buckets:
    """One bucket per point."""
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


def _joined(parts: Sequence[Atoms]) -> Atoms:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        none, no_values = np.zeros(0, np.int64), np.zeros(0)
        return Atoms(none, none, none, none, none, none, *[no_values] * 6)
    return Atoms(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Atoms)))


def _no_buckets() -> Buckets:
    return buckets_of_points(np.zeros(0, np.int64), np.zeros(0))
