"""Columns -> rows of PostgreSQL's COPY BINARY format.

https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": a header; for each row the number of fields, and
for each field its length and its bytes in network order; a trailer. Every field of a hot row has a fixed width, so the
rows are one numpy structured array and no Python runs per point (measured: about 30 M rows/s).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import numpy.typing as npt

    from runstream_service.ingest.decode import Float64Column, Int64Column

COLUMNS = ("epoch", "commit_no", "series_id", "step", "time", "value")

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_WIDTHS = {"epoch": 4, "commit_no": 4, "series_id": 8, "step": 8, "time": 8, "value": 8}
_TYPES = {"epoch": ">i4", "commit_no": ">i4", "series_id": ">i8", "step": ">i8", "time": ">i8", "value": ">f8"}
ROW = np.dtype(
    [
        ("fields", ">i2"),
        *(field for column in COLUMNS for field in ((f"{column}_bytes", ">i4"), (column, _TYPES[column]))),
    ]
)

# PostgreSQL counts microseconds from 2000-01-01, runstream from 1970-01-01.
POSTGRES_EPOCH_UNIX_US = 946_684_800_000_000

# Large enough that the cost of a message does not matter. Small enough that the backend starts on the first chunk while
# the others are still being sent, and that neither side holds the group twice.
_CHUNK_BYTES = 256 * 1024


def _empty_row() -> npt.NDArray[np.uint8]:
    """A row with the bytes that all rows share: the number and the lengths of its fields. The values are zero."""
    row = np.zeros(1, ROW)
    row["fields"] = len(COLUMNS)
    for column in COLUMNS:
        row[f"{column}_bytes"] = _WIDTHS[column]
    return row.view(np.uint8)


# As bytes: numpy broadcasts them over the rows six times as fast as the structured row.
_EMPTY_ROW = _empty_row()


def encode(
    epoch: int,
    commit_no: int,
    series_id: Int64Column,
    step: Int64Column,
    time_unix_us: Int64Column,
    value: Float64Column,
) -> memoryview:
    """Encode the points of one commit, sorted by series, and by arrival within a series: the points of a series are
    then together on few pages, and roll-up sorts data that is mostly in order. Each column has shape (n,); times are
    within years 1 to 9999. Returns n rows of 66 bytes between header and trailer.
    """
    count = len(series_id)
    buffer = np.empty(len(_HEADER) + count * ROW.itemsize + len(_TRAILER), np.uint8)
    buffer[: len(_HEADER)] = np.frombuffer(_HEADER, np.uint8)
    buffer[len(buffer) - len(_TRAILER) :] = np.frombuffer(_TRAILER, np.uint8)
    body = buffer[len(_HEADER) : len(buffer) - len(_TRAILER)]
    body.reshape(count, ROW.itemsize)[:] = _EMPTY_ROW
    rows = body.view(ROW)
    order = _by_series(series_id)
    rows["epoch"] = epoch
    rows["commit_no"] = commit_no
    rows["series_id"] = series_id[order]
    rows["step"] = step[order]
    rows["time"] = time_unix_us[order] - POSTGRES_EPOCH_UNIX_US
    rows["value"] = value[order]
    return buffer.data


async def chunks(encoded: memoryview) -> AsyncIterator[bytes]:
    """The encoded rows in pieces, as asyncpg's copy_to_table takes them."""
    for start in range(0, len(encoded), _CHUNK_BYTES):
        # A view is enough: the driver copies it into its write buffer.
        yield cast("bytes", encoded[start : start + _CHUNK_BYTES])


def _by_series(series_id: Int64Column) -> Int64Column:
    """Stable order by series. numpy sorts 16-bit keys by radix, ten times as fast as 64-bit ones, and the series of one
    group are usually close together."""
    if len(series_id) == 0:
        return np.zeros(0, np.int64)
    lowest, highest = int(series_id.min()), int(series_id.max())
    if highest - lowest < 1 << 16:
        return np.argsort((series_id - lowest).astype(np.uint16), kind="stable")
    return np.argsort(series_id, kind="stable")
