"""Encodes segments as rows of metric_segments, in COPY BINARY.

https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format". An array is (dimensions, has nulls, element
type, length, lower bound), then for each element its length and bytes. All elements of a column are encoded at once,
and each row takes a slice of them, so that Python runs a few times per segment and never for a point.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.copy_rows import HEADER, TRAILER
from runstream_service.segments.build import Segments

# Columns that are never null come first, so that a row begins with a part of constant size.
_ALWAYS = {
    "series_id": ">i8",
    "epoch": ">i4",
    "first_step": ">i8",
    "last_step": ">i8",
    "min_time": ">i8",
    "max_time": ">i8",
    "point_count": ">i4",
    "finite_count": ">i4",
    "first_value": ">f8",
    "last_value": ">f8",
    "time_ordered": "?",
}
_OF_FINITE = {"min_value": ">f8", "max_value": ">f8", "sum_value": ">f8"}
_STRIDE = {"step_stride": ">i8"}
_TIME_STRIDE = {"time_stride": ">i8"}
_ARRAYS = ("steps", "time_residuals", "time_offsets", "times", "values_real", "values_double")
COLUMNS = (*_ALWAYS, *_OF_FINITE, *_STRIDE, *_TIME_STRIDE, *_ARRAYS)

_NULL = b"\xff\xff\xff\xff"
_ARRAY_HEAD = np.dtype(
    [(name, ">i4") for name in ("bytes", "dimensions", "has_nulls", "element_type", "length", "lower_bound")]
)
# Object ids of int2, int4, int8, float4, float8, timestamptz: constants of PostgreSQL's protocol.
_INT2, _INT4, _INT8, _REAL, _DOUBLE, _TIMESTAMPTZ = 21, 23, 20, 700, 701, 1184

# A chunk is encoded on the event loop, between two writes to the socket: about a quarter of a millisecond of Python.
_CHUNK_SEGMENTS = 32


@dataclass(slots=True)
class _Fixed:
    """Encoded columns of constant width. A segment takes its slice of `data`, or `absent` if these columns are null."""

    data: memoryview
    width: int
    present: NDArray[np.bool_]
    absent: bytes

    def fields(self, first: int, end: int) -> list[memoryview | bytes]:
        """The encoded fields of the segments from `first` up to `end`."""
        return [
            self.data[i * self.width : (i + 1) * self.width] if present else self.absent
            for i, present in enumerate(self.present[first:end].tolist(), first)
        ]


@dataclass(slots=True)
class _Array:
    """An encoded array column: the heads and the elements of all segments that have the array. They are slices of numpy
    arrays: the garbage collector would have to walk through Python lists of a hundred thousand objects."""

    heads: memoryview
    elements: memoryview
    element_bytes: int
    present: NDArray[np.bool_]
    rank: NDArray[np.intp]  # which of the heads is the segment's
    starts: NDArray[np.int64]  # where its elements begin
    counts: NDArray[np.int64]

    def fields(self, first: int, end: int) -> list[memoryview | bytes]:
        """The encoded fields of the segments from `first` up to `end`."""
        columns = (column[first:end].tolist() for column in (self.present, self.rank, self.starts, self.counts))
        return [self._field(*of_segment) for of_segment in zip(*columns, strict=True)]

    def _field(self, present: bool, rank: int, start: int, count: int) -> bytes:
        if not present:
            return _NULL
        head, width = rank * _ARRAY_HEAD.itemsize, self.element_bytes
        elements = self.elements[start * width : (start + count) * width]
        return b"".join((self.heads[head : head + _ARRAY_HEAD.itemsize], elements))


@dataclass(slots=True)
class EncodedSegments:
    """Segments as rows, ready to be sent. `chunks` can be called several times."""

    count: int
    _fixed: list[_Fixed]
    _arrays: list[_Array]

    def chunks(self) -> Iterator[bytes]:
        """The whole COPY, in portions."""
        yield HEADER
        for first in range(0, self.count, _CHUNK_SEGMENTS):
            end = min(first + _CHUNK_SEGMENTS, self.count)
            columns = [fixed.fields(first, end) for fixed in self._fixed]
            columns += [array.fields(first, end) for array in self._arrays]
            yield b"".join(itertools.chain.from_iterable(zip(*columns, strict=True)))
        yield TRAILER


def encode(segments: Segments, epoch: int | NDArray[np.int64]) -> EncodedSegments:
    """Encode segments. `epoch`: one number for all, or one for each segment."""
    points, counts = segments.points, segments.counts
    assert counts.sum() == len(points), "a point is in no segment, or in two"
    everywhere = np.ones(len(segments), np.bool_)
    always = {
        "epoch": np.broadcast_to(epoch, len(segments)),
        "point_count": counts,
        **{name: getattr(segments, name) for name in _ALWAYS if name not in ("epoch", "point_count")},
    }
    as_int16, as_float32 = segments.times_as_int16, segments.values_as_float32
    as_int32 = segments.times_as_int32 & ~as_int16
    offsets = points.time - np.repeat(segments.min_time, counts)
    return EncodedSegments(
        len(segments),
        [
            _fixed(_ALWAYS, always, everywhere, field_count=len(COLUMNS)),
            _fixed(_OF_FINITE, {name: getattr(segments, name) for name in _OF_FINITE}, segments.finite_count > 0),
            _fixed(_STRIDE, {"step_stride": segments.step_stride}, segments.regular_steps),
            _fixed(_TIME_STRIDE, {"time_stride": segments.time_stride}, as_int16),
        ],
        [
            _array(points.step, ">i8", _INT8, ~segments.regular_steps, counts),
            _array(segments.time_residual, ">i2", _INT2, as_int16, counts),
            _array(offsets, ">i4", _INT4, as_int32, counts),
            _array(points.time, ">i8", _TIMESTAMPTZ, ~(as_int16 | as_int32), counts),
            _array(points.value, ">f4", _REAL, as_float32, counts),
            _array(points.value, ">f8", _DOUBLE, ~as_float32, counts),
        ],
    )


def _fixed(
    types: dict[str, str], columns: dict[str, NDArray[np.generic]], present: NDArray[np.bool_], *, field_count: int = 0
) -> _Fixed:
    fields = [("field_count", ">i2")] if field_count else []
    for name, kind in types.items():
        fields += [(f"{name}_bytes", ">i4"), (name, kind)]
    rows = np.empty(len(present), np.dtype(fields))
    if field_count:
        rows["field_count"] = field_count
    for name, kind in types.items():
        rows[f"{name}_bytes"] = np.dtype(kind).itemsize
        rows[name] = columns[name]
    return _Fixed(_bytes(rows), rows.itemsize, present, _NULL * len(types))


def _array(
    column: NDArray[np.generic],
    kind: str,
    element_type: int,
    present: NDArray[np.bool_],
    all_counts: NDArray[np.int64],
) -> _Array:
    """Encode one array column, for the segments for which `present` is true."""
    if not present.all():
        column = column[np.repeat(present, all_counts)]
    counts = np.where(present, all_counts, 0)
    elements = np.empty(len(column), np.dtype([("bytes", ">i4"), ("element", kind)]))
    width = np.dtype(kind).itemsize
    elements["bytes"] = width
    with np.errstate(all="ignore"):
        elements["element"] = column
    heads = np.empty(int(present.sum()), _ARRAY_HEAD)
    lengths = all_counts[present]
    heads["bytes"] = _ARRAY_HEAD.itemsize - 4 + lengths * elements.itemsize
    heads["dimensions"] = heads["lower_bound"] = 1
    heads["has_nulls"] = 0
    heads["element_type"] = element_type
    heads["length"] = lengths
    return _Array(
        _bytes(heads),
        _bytes(elements),
        elements.itemsize,
        present,
        np.cumsum(present) - 1,
        np.cumsum(counts) - counts,
        counts,
    )


def _bytes(rows: NDArray[np.void]) -> memoryview:
    return rows.view(np.uint8).data if len(rows) else memoryview(b"")
