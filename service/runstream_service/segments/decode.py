"""Decodes rows of metric_segments, from COPY BINARY into numpy columns.

Summaries have a fixed layout and are decoded all at once. Segments with their arrays vary in size, so some Python runs
for each segment, but none for a point.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US, HEADER_BYTES, SIGNATURE, TRAILER, RowFormat, Rows

# -- summaries -------------------------------------------------------------------------------------------------------

# The columns of the query `summaries` in segments.sql, none of which is null. The ctid and the series_id together
# identify a row within a snapshot.
SUMMARY = RowFormat(
    [
        ("ctid", "V6"),
        ("series_id", ">i8"),
        ("first_step", ">i8"),
        ("last_step", ">i8"),
        ("min_time", ">i8"),
        ("max_time", ">i8"),
        ("point_count", ">i4"),
        ("finite_count", ">i4"),
        ("min_value", ">f8"),
        ("max_value", ">f8"),
        ("sum_value", ">f8"),
        ("first_value", ">f8"),
        ("last_value", ">f8"),
        ("time_ordered", "?"),
        ("step_stride", ">i8"),
    ]
)
IRREGULAR = -1  # stands for a step_stride that is null
# The columns of the query `points_at`, none of which is null.
POINT = RowFormat([("number", ">i8"), ("time", ">i8"), ("value", ">f8")])
_CTID_WEIGHTS = np.array([1 << 40, 1 << 32, 1 << 24, 1 << 16, 1 << 8, 1], np.int64)


def ctids(rows: Rows) -> NDArray[np.int64]:
    """The ctids of summaries as numbers: block << 16 | line."""
    raw = np.ascontiguousarray(rows["ctid"]).view(np.uint8).reshape(-1, 6)
    result: NDArray[np.int64] = raw.astype(np.int64) @ _CTID_WEIGHTS
    return result


def ctid_text(ctid: int) -> str:
    """The text of a ctid, as PostgreSQL writes it: (block,line)."""
    return f"({ctid >> 16},{ctid & 0xFFFF})"


_MAX_INT64 = 2**63 - 1

# -- whole segments --------------------------------------------------------------------------------------------------

# The columns of the queries `in_order`, `at` and `take` in segments.sql: seven columns that are never null,
# then the six arrays, most of which are. `owner` identifies the series of the segment: a series_id or a position.
_FIXED = struct.Struct(">h i6s iq iq iq ii iq iq".replace(" ", ""))
# The same columns as a numpy type.
_HEAD = np.dtype([("fields", ">i2"), *((f"{name}_bytes", ">i4") if is_length else (name, kind) for name, kind in (
    ("ctid", "V6"), ("owner", ">i8"), ("first_step", ">i8"), ("min_time", ">i8"), ("count", ">i4"), ("stride", ">i8"),
    ("time_stride", ">i8")) for is_length in (True, False))])  # fmt: skip
# Positions in _HEAD of the bytes that are equal in segments of one form: the number of fields, their lengths, and the
# number of points.
_SAME = [
    byte
    for name, (kind, offset, *_) in (_HEAD.fields or {}).items()
    if name in ("fields", "count") or name.endswith("_bytes")
    for byte in range(offset, offset + kind.itemsize)
]
_COUNT_AT = 52  # where the number of points is
_COUNT_END = _COUNT_AT + 4
# How many segments of one form are decoded at once: with fewer than _ENOUGH it takes longer than one by one. At most
# _AT_ONCE are compared, since the comparison may find that they differ.
_ENOUGH, _AT_ONCE = 4, 64
_FIELDS = 13
_WIDTHS = (6, 8, 8, 8, 4, 8, 8)
_LENGTH = struct.Struct(">i")
# An array: dimensions, has_nulls, element type, length, lower bound; then length and value of each element.
_ARRAY_HEADER_BYTES = 20
_INT2 = np.dtype([("bytes", ">i4"), ("element", ">i2")])
_INT4 = np.dtype([("bytes", ">i4"), ("element", ">i4")])
_INT8 = np.dtype([("bytes", ">i4"), ("element", ">i8")])
_REAL = np.dtype([("bytes", ">i4"), ("element", ">f4")])
_DOUBLE = np.dtype([("bytes", ">i4"), ("element", ">f8")])


@dataclass(frozen=True, slots=True)
class Segment:
    """The points of one segment, ordered by (step, time). Steps and times are None if they were not requested."""

    owner: int
    ctid: int
    first_step: int
    min_time_unix_us: int
    step: NDArray[np.int64] | None
    time_unix_us: NDArray[np.int64] | None
    value: NDArray[np.float64]


class SegmentStream:
    """Decodes a COPY of segments, whose bytes may arrive in any portions. `steps` and `times`: whether to decode
    them."""

    def __init__(self, *, steps: bool = True, times: bool = True) -> None:
        self._steps = steps
        self._times = times
        self._pending = b""
        self._header_read = False

    def feed(self, data: bytes) -> list[Segment]:
        """Add the next portion of the COPY; returns the segments that it completes."""
        self._pending = self._pending + data if self._pending else bytes(data)
        at = 0
        if not self._header_read:
            if len(self._pending) < HEADER_BYTES:
                return []
            assert self._pending.startswith(SIGNATURE), "not binary COPY"
            self._header_read = True
            at = HEADER_BYTES
        segments = []
        while (parsed := self._parse(self._pending, at)) is not None:
            segment, arrays, end = parsed
            segments.append(segment)
            alike, at = self._alike(self._pending, at, end, arrays)
            segments += alike
        self._pending = self._pending[at:]
        return segments

    def finish(self) -> None:
        """Check, after the last portion, that the COPY is complete. Raises AssertionError."""
        assert self._pending == TRAILER, "the COPY has no end"

    def _parse(self, data: bytes, start: int) -> tuple[Segment, list[tuple[int, int]], int] | None:
        """The segment that begins at `start`, where its arrays are, and the start of the next one; None if it is not
        complete."""
        at = start + _FIXED.size
        if at > len(data):
            return None
        fields, *fixed = _FIXED.unpack_from(data, start)
        assert fields == _FIELDS, "a row has other columns than expected"
        assert tuple(fixed[::2]) == _WIDTHS, "a column has another width than expected, or is null"
        arrays: list[tuple[int, int]] = []
        for _ in range(_FIELDS - len(_WIDTHS)):
            if at + 4 > len(data):
                return None
            (size,) = _LENGTH.unpack_from(data, at)
            arrays.append((at + 4, size))
            at += 4 + max(size, 0)
        if at > len(data):
            return None
        return self._segment(data, fixed[1::2], arrays), arrays, at

    def _alike(self, data: bytes, start: int, end: int, arrays: list[tuple[int, int]]) -> tuple[list[Segment], int]:
        """Decode at once the segments from `end` on that have as many points and the same arrays as the one at `start`.
        Most segments of a series are so, apart from its last. Returns them, and the start of the next segment."""
        size = end - start
        there = min((len(data) - start) // size, _AT_ONCE)
        if there < _ENOUGH or not _seem_alike(data, start, size, arrays):
            return [], end
        rows = np.frombuffer(data, np.uint8, there * size, start).reshape(there, size)
        lengths = [at - _LENGTH.size - start + byte for at, _ in arrays for byte in range(_LENGTH.size)]
        same = (rows[:, _SAME + lengths] == rows[0, _SAME + lengths]).all(axis=1)
        count = len(rows) if same.all() else int(np.argmin(same))
        heads = np.ndarray(count, _HEAD, data, start, size)[1:]
        regular = heads["stride"] != IRREGULAR
        if count < _ENOUGH or not (regular.all() or not regular.any()):
            return [], end
        return self._all_at_once(data, start + size, size, heads, arrays), start + count * size

    def _all_at_once(
        self, data: bytes, start: int, size: int, heads: NDArray[np.void], arrays: list[tuple[int, int]]
    ) -> list[Segment]:
        """Decode the segments from `start` on, of `size` bytes each. `arrays`: where the arrays of the segment before
        `start` are."""
        points = int(heads["count"][0])

        def column(which: int, element: np.dtype[Any]) -> NDArray[Any]:
            at, length = arrays[which]
            assert length == _ARRAY_HEADER_BYTES + points * element.itemsize, "an array has another length"
            offset = at + _ARRAY_HEADER_BYTES + size
            return np.ndarray((len(heads), points), element, data, offset, (size, element.itemsize))["element"]

        def line(first: NDArray[np.int64], stride: str) -> NDArray[np.int64]:
            lines: NDArray[np.int64] = first[:, None] + heads[stride].astype(np.int64)[:, None] * np.arange(points)
            return lines

        first_step, min_time = heads["first_step"].astype(np.int64), heads["min_time"].astype(np.int64)
        min_time += EPOCH_2000_UNIX_US
        steps: Iterable[Any] = itertools.repeat(None)
        times: Iterable[Any] = itertools.repeat(None)
        if self._steps:
            regular = heads["stride"][0] != IRREGULAR
            steps = line(first_step, "stride") if regular else column(0, _INT8).astype(np.int64)
        if self._times:
            if arrays[1][1] >= 0:
                times = line(min_time, "time_stride") + column(1, _INT2)
            elif arrays[2][1] >= 0:
                times = min_time[:, None] + column(2, _INT4)
            else:
                times = column(3, _INT8) + np.int64(EPOCH_2000_UNIX_US)
        values = (column(4, _REAL) if arrays[4][1] >= 0 else column(5, _DOUBLE)).astype(np.float64)
        ctids = [int.from_bytes(ctid, "big") for ctid in heads["ctid"].tolist()]
        fixed = (heads["owner"].tolist(), ctids, first_step.tolist(), min_time.tolist())
        return [Segment(*columns) for columns in zip(*fixed, steps, times, values, strict=False)]

    def _segment(self, data: bytes, fixed: list[Any], arrays: list[tuple[int, int]]) -> Segment:
        ctid, owner, first_step, min_time, count, stride, time_stride = fixed
        steps, residuals, offsets, times, reals, doubles = arrays
        step = time = None
        if self._steps:
            if stride == IRREGULAR:
                step = _elements(data, steps, _INT8, count).astype(np.int64)
            else:
                step = _line(first_step, stride, count)
        if self._times:
            if residuals[1] >= 0:
                line = _line(min_time + EPOCH_2000_UNIX_US, time_stride, count)
                time = _elements(data, residuals, _INT2, count) + line
            elif offsets[1] >= 0:
                time = _elements(data, offsets, _INT4, count) + np.int64(min_time + EPOCH_2000_UNIX_US)
            else:
                time = _elements(data, times, _INT8, count) + np.int64(EPOCH_2000_UNIX_US)
        if reals[1] >= 0:
            value = _elements(data, reals, _REAL, count).astype(np.float64)
        else:
            value = _elements(data, doubles, _DOUBLE, count).astype(np.float64)
        return Segment(owner, int.from_bytes(ctid, "big"), first_step, min_time + EPOCH_2000_UNIX_US, step, time, value)


def _seem_alike(data: bytes, start: int, size: int, arrays: list[tuple[int, int]]) -> bool:
    """Whether the first and the last of _ENOUGH segments have the same lengths: a quick check before all are
    compared."""
    last = (_ENOUGH - 1) * size
    spans = ((start + _COUNT_AT, start + _COUNT_END), *((at - _LENGTH.size, at) for at, _ in arrays))
    return all(data[first:end] == data[first + last : end + last] for first, end in spans)


def segments_of(data: bytes, *, steps: bool = True, times: bool = True) -> Iterator[Segment]:
    """Decode a whole COPY of segments."""
    stream = SegmentStream(steps=steps, times=times)
    yield from stream.feed(data)
    stream.finish()


def _line(first: int, stride: int, count: int) -> NDArray[np.int64]:
    """The numbers first, first + stride, first + 2 * stride, ...: `count` of them."""
    end = first + stride * count
    if stride > 0 and end <= _MAX_INT64:
        return np.arange(first, end, stride, dtype=np.int64)  # a fifth of the time of multiplying and adding
    return np.arange(count, dtype=np.int64) * stride + first


def _elements(data: bytes, where: tuple[int, int], element: np.dtype[Any], count: int) -> NDArray[Any]:
    start, size = where
    assert size == _ARRAY_HEADER_BYTES + count * element.itemsize, "an array has another length than point_count"
    column = np.frombuffer(data, element, count, start + _ARRAY_HEADER_BYTES)
    return column["element"]
