"""The format of the table hot_batches. A row has up to MAX_ROW_POINTS points of one run and rank, in the order of
logging.

Nearly always the points of a row are close to each other, so their series, steps and times are stored as differences
from the least of each (`first_series`, `first_step`, `first_time`): 16 bytes a point. If a difference does not fit,
these three are null, and the points have whole numbers: 32 bytes. All numbers are big-endian, as PostgreSQL's functions
take and return them. The SQL function hot_points decodes rows as `BatchStream` does.

A whole group is encoded at once, and Python runs per row, never per point. (Measured for batches of 250 points, while
the service did other work: 65 ns a point. Encoding each batch alone took 350 to 800 ns a point.)
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.copy_rows import (
    EPOCH_2000_UNIX_US,
    HEADER,
    HEADER_BYTES,
    PIECE_BYTES,
    SIGNATURE,
    TRAILER,
)

if TYPE_CHECKING:
    from uuid import UUID

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

DIFFERENCES = np.dtype([("series_id", ">u2"), ("step", ">u2"), ("time", ">u4"), ("value", ">f8")])
WHOLE_NUMBERS = np.dtype([("series_id", ">i8"), ("step", ">i8"), ("time", ">i8"), ("value", ">f8")])
_LARGEST = {"series_id": 0xFFFF, "step": 0xFFFF, "time": 0xFFFF_FFFF}

# Two full rows of differences take exactly a page of 8 KiB, as one full row of whole numbers does.
MAX_ROW_POINTS = 250

COLUMNS = ("epoch", "commit_no", "run_id", "first_series", "first_step", "first_time", "rank", "points")
_ID = [("fields", ">i2"), ("epoch_bytes", ">i4"), ("epoch", ">i4"), ("commit_no_bytes", ">i4"), ("commit_no", ">i4")]
_ID += [("run_id_bytes", ">i4"), ("run_id", "V16")]
_REST = [("rank_bytes", ">i4"), ("rank", ">i4"), ("points_bytes", ">i4")]
_FIRST = ("first_series", "first_step", "first_time")
_HEAD = np.dtype([*_ID, *(field for name in _FIRST for field in ((f"{name}_bytes", ">i4"), (name, ">i8"))), *_REST])
_HEAD_WITHOUT_FIRST = np.dtype([*_ID, *((f"{name}_bytes", ">i4") for name in _FIRST), *_REST])
_NULL = -1


@dataclass(frozen=True, slots=True)
class BatchPoints:
    """The points of one batch or write, in columns of shape (n,). Times are in years 1 to 9999, which is not
    checked."""

    run_id: UUID
    rank: int
    series_id: Int64s
    step: Int64s
    time_unix_us: Int64s
    value: Float64s


class EncodedBatches:
    """Batches, encoded as rows. `owner` has the position of its batch for each row."""

    def __init__(self, batches: Sequence[BatchPoints]) -> None:
        counts = np.array([len(batch.value) for batch in batches], np.int64)
        starts, owner = _row_starts(counts)
        self.owner: list[int] = owner.tolist()
        self._batches = batches
        columns = {
            "series_id": np.concatenate([batch.series_id for batch in batches]),
            "step": np.concatenate([batch.step for batch in batches]),
            "time": np.concatenate([batch.time_unix_us for batch in batches]) - EPOCH_2000_UNIX_US,
        }
        value = np.concatenate([batch.value for batch in batches])
        self._counts = np.diff(starts, append=len(value))
        self._least = {name: np.minimum.reduceat(column, starts) for name, column in columns.items()}
        self._fits = np.ones(len(starts), np.bool_)
        for name, column in columns.items():
            # The difference of two int64 may overflow; read as unsigned, it is right.
            span = (np.maximum.reduceat(column, starts) - self._least[name]).view(np.uint64)
            self._fits &= span <= _LARGEST[name]
        self._points = _points_of_rows(columns, value, starts, self._counts, self._least, self._fits)

    def arguments(self) -> tuple[list[Any], ...]:
        """The columns of all rows, apart from epoch and commit_no, as arguments of the SQL function commit_batches."""
        batches = [self._batches[owner] for owner in self.owner]
        fits = self._fits.tolist()
        return (
            [batch.run_id for batch in batches],
            *(
                [number if fit else None for number, fit in zip(least.tolist(), fits, strict=True)]
                for least in self._least.values()
            ),
            [batch.rank for batch in batches],
            self._points,
        )

    async def copy(self, epoch: int, commit_no: int, accepted: Sequence[bool]) -> AsyncIterator[bytes]:
        """The rows of the batches for which `accepted` is true, as COPY BINARY, in pieces for asyncpg's
        copy_to_table."""
        piece = bytearray(HEADER)
        heads = self._heads(epoch, commit_no)
        for owner, head, points in zip(self.owner, heads, self._points, strict=True):
            if not accepted[owner]:
                continue
            piece += head
            piece += points
            if len(piece) >= PIECE_BYTES:
                yield cast("bytes", piece)
                piece = bytearray()
        yield cast("bytes", piece + TRAILER)

    def _heads(self, epoch: int, commit_no: int) -> Iterator[memoryview]:
        """For each row, the bytes before its points."""
        runs = b"".join([batch.run_id.bytes for batch in self._batches])
        run_id = np.frombuffer(runs, "V16")[self.owner]
        rank = np.array([batch.rank for batch in self._batches], np.int64)[self.owner]
        kinds = []
        for dtype, point, has_first in ((_HEAD_WITHOUT_FIRST, WHOLE_NUMBERS, False), (_HEAD, DIFFERENCES, True)):
            rows = np.empty(len(self.owner), dtype)
            rows["fields"] = len(COLUMNS)
            rows["epoch_bytes"] = rows["commit_no_bytes"] = rows["rank_bytes"] = 4
            rows["epoch"], rows["commit_no"] = epoch, commit_no
            rows["run_id_bytes"], rows["run_id"] = 16, run_id
            rows["rank"] = rank
            rows["points_bytes"] = self._counts * point.itemsize
            for name, least in zip(_FIRST, self._least.values(), strict=True):
                rows[f"{name}_bytes"] = 8 if has_first else _NULL
                if has_first:
                    rows[name] = least
            kinds.append((rows.view(np.uint8).data, dtype.itemsize))
        for number, fits in enumerate(self._fits.tolist()):
            heads, width = kinds[fits]
            yield heads[number * width : (number + 1) * width]


def _row_starts(counts: Int64s) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each row: the position of its first point, and the position of its batch. Batches without points have no
    rows."""
    rows = -(-counts // MAX_ROW_POINTS)
    owner = np.repeat(np.arange(len(counts)), rows)
    piece = np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)
    starts: NDArray[np.intp] = (np.cumsum(counts) - counts)[owner] + piece * MAX_ROW_POINTS
    return starts, owner


def _points_of_rows(
    columns: dict[str, Int64s],
    value: Float64s,
    starts: NDArray[np.intp],
    counts: Int64s,
    least: dict[str, Int64s],
    fits: NDArray[np.bool_],
) -> list[memoryview]:
    differences = np.empty(len(value), DIFFERENCES)
    for name, column in columns.items():
        # Differences that do not fit overflow here; those rows are replaced below.
        differences[name] = column - np.repeat(least[name], counts)
    differences["value"] = value
    found = _slices(differences, starts, counts)
    if not fits.all():
        whole = np.empty(len(value), WHOLE_NUMBERS)
        for name, column in columns.items():
            whole[name] = column
        whole["value"] = value
        for number in np.flatnonzero(~fits).tolist():
            start = int(starts[number])
            found[number] = whole[start : start + int(counts[number])].view(np.uint8).data
    return found


def _slices(points: NDArray[np.void], starts: NDArray[np.intp], counts: Int64s) -> list[memoryview]:
    data, width = points.view(np.uint8).data, points.itemsize
    edges = zip((starts * width).tolist(), ((starts + counts) * width).tolist(), strict=True)
    return [data[start:end] for start, end in edges]


# -- reading ---------------------------------------------------------------------------------------------------------

# The select list of a COPY from hot_batches that BatchStream decodes.
READ = (
    "commit_no, coalesce(first_series, 0), coalesce(first_step, 0), coalesce(first_time, '2000-01-01 00:00:00+00'), "
    "first_series IS NULL, points"
)
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("commit_no_bytes", ">i4"),
        ("commit_no", ">i4"),
        *(field for name in _FIRST for field in ((f"{name}_bytes", ">i4"), (name, ">i8"))),
        ("is_whole_bytes", ">i4"),
        ("is_whole", "?"),
        ("points_bytes", ">i4"),
    ]
)
_FIELDS = 6
_LENGTH = struct.Struct(">i")
_LENGTH_AT = _ROW.itemsize - _LENGTH.size


# How many points are decoded at once. The temporary arrays of this many stay in the processor's cache: half the time.
_BLOCK_POINTS = 16_384


@dataclass(slots=True)
class HotPoints:
    """Decoded points, in the order of their rows. `time` is in microseconds since 2000-01-01, as in PostgreSQL.
    `commit_of_row` and `points_of_row` have one value per row, the other columns one per point."""

    commit_of_row: Int64s
    points_of_row: Int64s
    series_id: Int64s
    step: Int64s
    time: Int64s
    value: Float64s

    def __len__(self) -> int:
        return len(self.series_id)

    @property
    def commit_no(self) -> Int64s:
        """The number of the commit of each point."""
        return np.repeat(self.commit_of_row, self.points_of_row)


class BatchStream:
    """Decodes a COPY of `READ`, whose bytes may arrive in any portions."""

    def __init__(self) -> None:
        self._portions: list[bytes] = []
        self._header_read = False
        self.waiting_bytes = 0  # bytes that were fed and are not decoded yet

    def feed(self, data: bytes) -> None:
        """Add the next portion of the COPY."""
        self._portions.append(data)
        self.waiting_bytes += len(data)

    def take(self) -> HotPoints:
        """Decode the rows that are complete; their bytes are released."""
        data = b"".join(self._portions)
        at = 0
        if not self._header_read and len(data) >= HEADER_BYTES:
            assert data.startswith(SIGNATURE), "not binary COPY"
            self._header_read, at = True, HEADER_BYTES
        edges = _row_edges(data, at)
        rest = data[edges[-1] :]
        self._portions, self.waiting_bytes = [rest], len(rest)
        return _decode(data, np.array(edges, np.int64))

    def finish(self) -> HotPoints:
        """Decode the remaining rows, after the last portion. Raises ConnectionError if the end of the COPY is
        missing."""
        found = self.take()
        if self._portions != [TRAILER]:
            raise ConnectionError("a COPY of hot batches ended too early")
        return found


def _row_edges(data: bytes, at: int) -> list[int]:
    """The positions between the complete rows from `at` on, including `at` and the end of the last row."""
    edges = [at]
    last = len(data) - _ROW.itemsize
    while at <= last:
        at += _ROW.itemsize + _LENGTH.unpack_from(data, at + _LENGTH_AT)[0]
        if at > len(data):
            break
        edges.append(at)
    return edges


def _decode(data: bytes, edges: Int64s) -> HotPoints:
    heads = np.frombuffer(data, np.uint8)[edges[:-1, None] + np.arange(_ROW.itemsize)].view(_ROW).ravel()
    assert (heads["fields"] == _FIELDS).all(), "a row has other columns than expected"
    is_whole = heads["is_whole"]
    width = np.where(is_whole, WHOLE_NUMBERS.itemsize, DIFFERENCES.itemsize)
    counts, rest = np.divmod(heads["points_bytes"].astype(np.int64), width)
    assert not rest.any(), "a row of hot_batches ends within a point"
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    found = HotPoints(
        heads["commit_no"].astype(np.int64),
        counts,
        np.empty(total, np.int64),
        np.empty(total, np.int64),
        np.empty(total, np.int64),
        np.empty(total, np.float64),
    )
    # Decode rows of one kind at a time, and about _BLOCK_POINTS points.
    kinds = np.flatnonzero(is_whole[1:] != is_whole[:-1]) + 1
    blocks = np.searchsorted(ends, np.arange(_BLOCK_POINTS, total, _BLOCK_POINTS))
    starts = np.unique(np.concatenate([[0], kinds, blocks, [len(counts)]])).tolist()
    points_at = edges.tolist()
    for first, end in itertools.pairwise(starts):
        points = b"".join([data[points_at[row] + _ROW.itemsize : points_at[row + 1]] for row in range(first, end)])
        rows = slice(first, end)
        _put(found, points, bool(is_whole[first]), heads[rows], counts[rows], int(ends[first] - counts[first]))
    return found


def _put(found: HotPoints, points: bytes, is_whole: bool, heads: NDArray[Any], counts: Int64s, start: int) -> None:
    """Decodes rows of one kind into `found`, from the point at `start` on."""
    raw = np.frombuffer(points, WHOLE_NUMBERS if is_whole else DIFFERENCES)
    into = slice(start, start + len(raw))
    found.value[into] = raw["value"]
    for name, first in zip(("series_id", "step", "time"), _FIRST, strict=True):
        column = getattr(found, name)[into]
        column[:] = raw[name]
        if not is_whole:
            column += np.repeat(heads[first].astype(np.int64), counts)
