"""Reads a sample of the rows of each run, and as few points as possible for that.

The number of rows determines which rows are in the sample. If the steps of a segment are regular, and no other source
has points among them, each of its points is one row, whose position among all rows is known: only the wanted points of
such a segment are read. All other segments are read completely, as two of their points may be one row.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.copy_rows import body, float64, unix_us
from runstream_service.database.metric_values import without_infinities
from runstream_service.query.charts.buckets import Float64, Int64
from runstream_service.query.charts.curves import Axis, Range, overlapping
from runstream_service.query.charts.segment_arrays import CurveBuilder, read_arrays
from runstream_service.query.mlflow_view.metric_rows import MetricRows, rows_of
from runstream_service.query.mlflow_view.primary_series import sources_by_run
from runstream_service.query.reading.read_transaction import compute
from runstream_service.segments.decode import POINT, ctid_text
from runstream_service.stores import segment_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_service.query.charts.curves import CurveSources
    from runstream_service.query.reading.read_transaction import ReadTransaction
    from runstream_service.query.reading.series import StoredSeries

# If more than one of this many points is wanted, it is faster to read whole segments than single points.
MIN_POINTS_PER_SAMPLE = 8


async def read_samples(
    transaction: ReadTransaction, stored: Sequence[StoredSeries], steps: tuple[int, int], count: int
) -> dict[str, MetricRows]:
    """For each run id, at most `count` rows with steps in an inclusive range, evenly spread over its rows in the order
    (step, timestamp, value). The last row is always among them."""
    found: dict[str, MetricRows] = {}
    async with aclosing(sources_by_run(transaction, stored, Range(Axis.STEP, *steps))) as batches:
        async for batch in batches:
            samples = {run_id: _Sample(sources, count) for run_id, sources in batch}
            for sample in samples.values():
                await sample.read_whole(transaction)
            await _read_points(transaction, list(samples.values()))
            found |= {run_id: sample.rows for run_id, sample in samples.items() if len(sample.rows)}
    return found


def sample_positions(rows: int, count: int) -> Int64:
    """The indexes of a sample of `rows` rows: the first row of each bucket of SQL's NTILE(count), except that the last
    index is that of the last row."""
    if rows <= count:
        return np.arange(rows, dtype=np.int64)
    size, larger = divmod(rows, count)
    bucket = np.arange(count, dtype=np.int64)
    positions = bucket * size + np.minimum(bucket, larger)
    positions[-1] = rows - 1
    return positions


class _Sample:
    """The sample of one run. `sources`: one for each of its attempts."""

    def __init__(self, sources: Sequence[CurveSources], count: int) -> None:
        self._count = count
        self._builders = [CurveBuilder(one, None) for one in sources]
        self._points = sum(int(one.point_count.sum()) + len(one.hot_position) for one in sources)
        by_point = _readable_by_point(sources, count)
        for builder, its in zip(self._builders, by_point, strict=True):
            builder.unsorted = ~its
        self._segments = _joined([_segments(one, its) for one, its in zip(sources, by_point, strict=True)])

    async def read_whole(self, transaction: ReadTransaction) -> None:
        """Reads the segments that have to be read completely, and then decides which single points of the others to
        read."""
        await read_arrays([transaction], self._builders)
        await compute(self._points, self._choose)

    def _choose(self) -> None:
        """Takes the wanted rows of the segments that were read, and records the wanted points of the others."""
        parts = [builder.collected() for builder in self._builders]
        step, time, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._builders = []
        whole, segments = rows_of(step, time, value), self._segments
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(segments.points)])
        # The index of the first row of each segment among all rows; and for each wanted row, the last segment that
        # begins at or before it.
        starts = before[:-1] + np.searchsorted(whole.step, segments.step)
        wanted = sample_positions(int(before[-1]) + len(whole), self._count)
        number = np.searchsorted(starts, wanted, "right") - 1
        self._single = number >= 0
        self._single[self._single] = wanted[self._single] < (starts + segments.points)[number[self._single]]
        rows = len(wanted)
        self.rows = MetricRows(np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows))
        self._put(~self._single, whole.take((wanted - before[number + 1])[~self._single]))
        number = number[self._single]
        offset = wanted[self._single] - starts[number]
        # `take` fills in the rest of their rows.
        self.series_id, self.ctid = segments.series_id[number], segments.ctid[number]
        self.position = segments.position[number] + offset
        self._step = segments.step[number] + offset * segments.stride[number]

    def take(self, time_unix_us: Int64, value: Float64) -> None:
        """Fill in the single points, with the times and values at `position` of the segments at `ctid` of
        `series_id`."""
        self._put(self._single, MetricRows(self._step, time_unix_us // 1_000, without_infinities(value)))

    def _put(self, where: NDArray[np.bool_], rows: MetricRows) -> None:
        self.rows.step[where] = rows.step
        self.rows.timestamp_ms[where] = rows.timestamp_ms
        self.rows.value[where] = rows.value


@dataclass(frozen=True, slots=True)
class _Segments:
    """Segments of which single points are read. `step` and `position` are those of their first point in the range,
    `points` is the number of points from there on."""

    series_id: Int64
    ctid: Int64
    step: Int64
    stride: Int64
    position: Int64
    points: Int64


def _readable_by_point(sources: Sequence[CurveSources], count: int) -> list[NDArray[np.bool_]]:
    """For each source, whether single points may be read of each of its segments."""
    points = np.concatenate([one.point_count for one in sources])
    stride = np.concatenate([one.step_stride for one in sources])
    first, last = (np.concatenate(column) for column in zip(*((one.first, one.last) for one in sources), strict=True))
    hot = np.sort(np.concatenate([one.hot_position for one in sources]))
    # With these tiebreakers, spans that touch count as overlapping: the order of rows with the same step is not known
    # here.
    begin, end, inner = (first, np.full(len(first), 0)), (last, np.full(len(last), 2)), (hot, np.full(len(hot), 1))
    found = ((stride > 0) | (points == 1)) & ~overlapping(begin, end, inner)
    if points.sum() + len(hot) < MIN_POINTS_PER_SAMPLE * count:
        found[:] = False
    return np.split(found, np.cumsum([len(one.first) for one in sources])[:-1])


def _segments(sources: CurveSources, chosen: NDArray[np.bool_]) -> _Segments:
    stride = np.maximum(sources.step_stride[chosen], 1)
    begin = sources.first_step[chosen]
    # Steps of a regular segment are less than 2**63 apart (segments/build.py).
    position = -((begin - sources.first[chosen]) // stride)
    end = (sources.last[chosen] - begin) // stride
    return _Segments(
        series_id=sources.series_id[chosen],
        ctid=sources.ctid[chosen],
        step=begin + position * stride,
        stride=stride,
        position=position,
        points=end - position + 1,
    )


def _joined(parts: Sequence[_Segments]) -> _Segments:
    """All segments that have points in the range, in the order of their steps."""
    columns = [np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Segments)]
    joined = _Segments(*columns)
    order = np.argsort(joined.step)
    order = order[joined.points[order] > 0]
    return _Segments(*(column[order] for column in columns))


async def _read_points(transaction: ReadTransaction, samples: Sequence[_Sample]) -> None:
    """Reads the single points of all samples at once."""
    series_id = np.concatenate([sample.series_id for sample in samples])
    ctid = np.concatenate([sample.ctid for sample in samples])
    position = np.concatenate([sample.position for sample in samples])
    if not len(position):
        return
    starts = np.flatnonzero((np.diff(series_id, prepend=-1) != 0) | (np.diff(ctid, prepend=-1) != 0))
    data = await segment_store.points_at(
        transaction,
        series_id[starts].tolist(),
        [ctid_text(one) for one in ctid[starts].tolist()],
        (starts + 1).tolist(),
        np.append(starts[1:], len(position)).tolist(),
        (position + 1).tolist(),
    )
    await compute(len(position), _share_out, samples, data)


def _share_out(samples: Sequence[_Sample], data: bytes) -> None:
    """Hand each sample its points, from a COPY of the points of all samples."""
    rows = POINT.rows(body(data))
    assert len(rows) == sum(len(sample.position) for sample in samples), "a segment is gone within a snapshot"
    rows = rows[np.argsort(rows["number"])]
    time, value = unix_us(rows["time"]), float64(rows["value"])
    start = 0
    for sample in samples:
        end = start + len(sample.position)
        sample.take(time[start:end], value[start:end])
        start = end
