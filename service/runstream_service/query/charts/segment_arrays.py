"""Builds the buckets of curves from their sources. Decides for which segments the summary is enough
(CurveBuilder._choose), and reads the arrays of the others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runstream_service.concurrency import threads
from runstream_service.query.charts.buckets import (
    Bucketing,
    Buckets,
    Float64,
    Int64,
    PartialAggregates,
    bucket_starts,
    buckets_of,
    buckets_of_points,
    partials_at,
    partials_of_points,
    scaled,
)
from runstream_service.query.charts.curves import Axis, CurveSources
from runstream_service.query.reading.read_transaction import all_ended
from runstream_service.segments.decode import IRREGULAR, Segment, ctid_text, segments_of
from runstream_service.stores import segment_store

if TYPE_CHECKING:
    from runstream_service.query.reading.read_transaction import ReadTransaction

# How many points of arrays are read at a time, while equally many are decoded: 16 bytes each as received, 24 as
# columns.
MAX_POINTS = 200_000

# Segments to read, by (series_id, ctid), with the index of their builder, and of the segment in its sources.
Chunk = dict[tuple[int, int], tuple[int, int]]


class CurveBuilder:
    """Builds the buckets of one curve. Without a bucketing all points are read and collected, and each is a bucket."""

    def __init__(self, sources: CurveSources, bucketing: Bucketing | None) -> None:
        self.sources = sources
        self._bucketing = bucketing
        self._partials: list[PartialAggregates] = []
        self._points: list[tuple[Int64, Int64, Float64]] = []
        # Whether the arrays of each segment have to be read. Points of `ordered` segments are in order along the axis;
        # those of `unsorted` ones have to be sorted, for which their tiebreakers are read, too.
        self.ordered, self.unsorted = self._choose()
        if bucketing is not None:
            self._partials.append(_partials_of_segments(sources, ~(self.ordered | self.unsorted)))
        if len(sources.hot_position):
            self._add_points(sources.hot_position, sources.hot_tiebreaker, sources.hot_value)

    def _choose(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Decide which segments are read with their arrays: (ordered, unsorted). Of all others the summary is enough:
        the whole segment is in the range, fits one bucket, and overlaps nothing else."""
        sources = self.sources
        if self._bucketing is None:
            return np.zeros(len(sources.first), np.bool_), np.ones(len(sources.first), np.bool_)
        unsorted = sources.overlapping() | ~sources.in_order
        whole = self._bucketing.fits_one_bucket(sources.first, sources.last) & np.isfinite(sources.sum_value)
        return (sources.cut | ~whole) & ~unsorted, unsorted

    @property
    def points_to_read(self) -> int:
        """How many points the arrays have that have to be read."""
        return int(self.sources.point_count[self.ordered | self.unsorted].sum())

    def add_ordered(self, wanted: Sequence[tuple[int, Segment]]) -> None:
        """Add `ordered` segments that were read, each with its index in the sources."""
        sources, bucketing = self.sources, self._bucketing
        assert bucketing is not None, "without a bucketing, all segments are unsorted"
        # They do not overlap, so in this order all of their points are in order.
        by_beginning = sorted(wanted, key=lambda one: (sources.first[one[0]], sources.last[one[0]]))
        columns = [self._within(number, *_columns(segment, sources.range.axis)) for number, segment in by_beginning]
        lengths = np.array([len(position) for position, _, _ in columns])
        ends = np.cumsum(lengths)
        if not ends[-1]:
            return
        position = np.concatenate([position for position, _, _ in columns])
        # A partial aggregate must not span two segments: tiebreakers are known at the ends of segments only.
        starts = np.union1d(bucket_starts(bucketing, position), (ends - lengths)[lengths > 0])
        number = np.array([number for number, _ in by_beginning])[np.searchsorted(ends, starts, "right")]
        self._partials.append(
            partials_at(
                starts,
                position,
                sources.first_tiebreaker[number],
                sources.last_tiebreaker[number],
                np.concatenate([value for _, _, value in columns]),
            )
        )

    def add_unsorted(self, wanted: Sequence[tuple[int, Segment]]) -> None:
        """Add `unsorted` segments that were read, each with its index in the sources."""
        parts = [self._inside(number, *_columns(segment, self.sources.range.axis)) for number, segment in wanted]
        position, tiebreaker, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((tiebreaker, position))
        self._add_points(position[order], tiebreaker[order], value[order])

    def points(self) -> tuple[Int64, Float64]:
        """Positions and values of all collected points, sorted."""
        position, tiebreaker, value = self.collected()
        order = np.lexsort((tiebreaker, position))
        return position[order], value[order]

    def collected(self) -> tuple[Int64, Int64, Float64]:
        """Positions, tiebreakers and values of all collected points, unsorted."""
        if not self._points:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        position, tiebreaker, value = (np.concatenate(column) for column in zip(*self._points, strict=True))
        return position, tiebreaker, value

    def buckets(self) -> Buckets:
        """The buckets of the curve."""
        if self._bucketing is None:
            return buckets_of_points(*self.points())
        return buckets_of(self._bucketing, self._partials)

    def divide(self, bucketing: Bucketing) -> Buckets:
        """The buckets of points that were collected without a bucketing."""
        self._bucketing, self._partials = bucketing, []
        for position, tiebreaker, value in self._points:
            self._add_points(position, tiebreaker, value)
        return self.buckets()

    def _add_points(self, position: Int64, tiebreaker: Int64, value: Float64) -> None:
        if self._bucketing is None:
            self._points.append((position, tiebreaker, value))
        elif len(position):
            self._partials.append(partials_of_points(self._bucketing, position, tiebreaker, value))

    def _within(
        self, number: int, position: Int64, tiebreaker: Int64 | None, value: Float64
    ) -> tuple[Int64, Int64 | None, Float64]:
        """Those of sorted points that are in the range."""
        if not self.sources.cut[number]:
            return position, tiebreaker, value
        # On the step axis, the bounds respect the last step that is not replaced. On the time axis, segments that a
        # newer attempt replaces in part are unsorted.
        start = int(np.searchsorted(position, self.sources.first[number], "left"))
        end = int(np.searchsorted(position, self.sources.last[number], "right"))
        return position[start:end], tiebreaker, value[start:end]

    def _inside(
        self, number: int, position: Int64, tiebreaker: Int64 | None, value: Float64
    ) -> tuple[Int64, Int64, Float64]:
        """Those of points in any order that are in the range."""
        assert tiebreaker is not None
        if not self.sources.cut[number]:
            return position, tiebreaker, value
        step = position if self.sources.range.axis is Axis.STEP else tiebreaker
        inside = (position >= self.sources.range.low) & (position <= self.sources.range.high)
        inside &= step <= self.sources.max_step[number]
        return position[inside], tiebreaker[inside], value[inside]


async def read_arrays(readers: Sequence[ReadTransaction], builders: Sequence[CurveBuilder]) -> None:
    """Reads the arrays that the builders of one query need, a bounded number of points at a time, divided among
    transactions with the same snapshot."""
    axis = builders[0].sources.range.axis if builders else Axis.STEP
    # Decode in a thread: it takes tens of milliseconds, and meanwhile PostgreSQL sends the next chunk.
    decoding: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    decoding.set_result(None)
    try:
        for unsorted in (False, True):
            times, steps = unsorted or axis is Axis.TIME, unsorted or axis is Axis.STEP
            chunks = _chunks(builders, MAX_POINTS // len(readers), unsorted=unsorted)
            while now := list(itertools.islice(chunks, len(readers))):
                copies = await all_ended(
                    [
                        _copy(reader, chunk, times=times, steps=steps)
                        for reader, chunk in zip(readers, now, strict=False)
                    ]
                )
                await decoding
                take = threads.READS.run(_take, builders, now, copies, unsorted=unsorted, times=times, steps=steps)
                decoding = asyncio.ensure_future(take)
    finally:
        await decoding


async def read_steps(transaction: ReadTransaction, sources: CurveSources) -> Int64:
    """The distinct steps of a curve. Arrays are read only of segments whose steps are not regular."""
    regular = sources.step_stride != IRREGULAR
    steps = [sources.hot_position, *(_regular_steps(sources, number) for number in np.flatnonzero(regular).tolist())]
    different = np.unique(np.concatenate(steps))
    irregular = CurveBuilder(sources, None)
    irregular.unsorted = ~regular
    for chunk in _chunks([irregular], MAX_POINTS, unsorted=True):
        data = await _copy(transaction, chunk, times=False, steps=True)
        different = np.union1d(different, await threads.READS.run(_irregular_steps, sources, chunk, data))
    return different


def _regular_steps(sources: CurveSources, number: int) -> Int64:
    stride = max(1, int(sources.step_stride[number]))
    first, last = int(sources.first_step[number]), int(sources.last_step[number])
    steps = np.arange((last - first) // stride + 1, dtype=np.int64) * stride + first
    inside: Int64 = steps[(steps >= sources.first[number]) & (steps <= sources.last[number])]
    return inside


def _irregular_steps(sources: CurveSources, chunk: Chunk, data: bytes) -> Int64:
    found = [np.zeros(0, np.int64)]
    for segment in segments_of(data, times=False):
        wanted = chunk.get((segment.owner, segment.ctid))
        if wanted is not None and segment.step is not None:
            inside = segment.step >= sources.first[wanted[1]]
            inside &= segment.step <= sources.last[wanted[1]]
            found.append(segment.step[inside])
    return np.unique(np.concatenate(found))


async def _copy(transaction: ReadTransaction, chunk: Chunk, *, times: bool, steps: bool) -> bytes:
    ids = sorted({series_id for series_id, _ in chunk})
    ctids = [ctid_text(ctid) for _, ctid in chunk]
    return await segment_store.segments_at(transaction, ids, ctids, times=times, steps=steps)


def _chunks(builders: Sequence[CurveBuilder], max_points: int, *, unsorted: bool) -> Iterator[Chunk]:
    """The segments to read, in chunks of about `max_points` points."""
    chunk: Chunk = {}
    points = 0
    for which, builder in enumerate(builders):
        sources = builder.sources
        for number in np.flatnonzero(builder.unsorted if unsorted else builder.ordered).tolist():
            chunk[int(sources.series_id[number]), int(sources.ctid[number])] = (which, number)
            points += int(sources.point_count[number])
            if points >= max_points:
                yield chunk
                chunk, points = {}, 0
    if chunk:
        yield chunk


def _take(
    builders: Sequence[CurveBuilder],
    chunks: Sequence[Chunk],
    copies: Sequence[bytes],
    *,
    unsorted: bool,
    times: bool,
    steps: bool,
) -> None:
    found: dict[int, list[tuple[int, Segment]]] = {}
    for chunk, data in zip(chunks, copies, strict=True):
        for segment in segments_of(data, times=times, steps=steps):
            # If the table is distributed, several shards may have the same ctid; together with the series id it is
            # unique.
            key = (segment.owner, segment.ctid)
            if key in chunk:
                which, number = chunk.pop(key)
                found.setdefault(which, []).append((number, segment))
        assert not chunk, "a segment is gone within a snapshot"
    for which, wanted in found.items():
        if unsorted:
            builders[which].add_unsorted(wanted)
        else:
            builders[which].add_ordered(wanted)


def _columns(segment: Segment, axis: Axis) -> tuple[Int64, Int64 | None, Float64]:
    """The columns position, tiebreaker and value of a segment."""
    step, time = segment.step, segment.time_unix_us
    position, tiebreaker = (step, time) if axis is Axis.STEP else (time, step)
    assert position is not None
    return position, tiebreaker, segment.value


def _partials_of_segments(sources: CurveSources, chosen: NDArray[np.bool_]) -> PartialAggregates:
    finite = sources.finite_count[chosen] > 0
    total = sources.sum_value[chosen]
    return PartialAggregates(
        first_position=sources.first[chosen],
        first_tiebreaker=sources.first_tiebreaker[chosen],
        last_position=sources.last[chosen],
        last_tiebreaker=sources.last_tiebreaker[chosen],
        point_count=sources.point_count[chosen],
        finite_count=sources.finite_count[chosen],
        first=sources.first_value[chosen],
        last=sources.last_value[chosen],
        min=np.where(finite, sources.min_value[chosen], np.inf),
        max=np.where(finite, sources.max_value[chosen], -np.inf),
        sum=total,
        small_sum=scaled(total),
    )
