"""Rows of a hot partition -> columns, through COPY BINARY."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from runstream_service.segments.points import Points
from runstream_service.storage.copy_rows import HEADER_BYTES, TRAILER

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection

_COLUMNS = {"series_id": ">i8", "step": ">i8", "time": ">i8", "value": ">f8"}
_FIELDS = [field for name, kind in _COLUMNS.items() for field in ((f"{name}_bytes", ">i4"), (name, kind))]
_ROW = np.dtype([("fields", ">i2"), *_FIELDS])

# A row takes 24 + 40 bytes in its page, and an item pointer of 4. It bounds how many rows a number of blocks can hold.
_STORED_ROW_BYTES = 68

# PostgreSQL sends 8 KiB at a time, and a portion costs the event loop about 30 microseconds whatever its size. A pause
# lets the socket fill. Measured, that halves the processor time of reading, and makes it a tenth longer.
_SMALL_PORTION_BYTES = 64 * 1024
_PAUSE_S = 0.001


class _Receiver:
    """Takes a COPY portion by portion and decodes each portion at once: while it is in the processor's cache, that
    costs a fraction of what it would cost later."""

    def __init__(self, capacity: int) -> None:
        # May be larger than needed: memory that is never written to costs nothing.
        self._columns = Points(
            np.empty(capacity, np.int64),
            np.empty(capacity, np.int64),
            np.empty(capacity, np.int64),
            np.empty(capacity, np.float64),
        )
        self._count = 0
        self._rest = b""
        self._skip = HEADER_BYTES

    async def receive(self, data: bytes) -> None:
        """Decode one portion; copy_from_query calls it."""
        if self._rest or self._skip:
            data = self._rest + data
            skipped = min(self._skip, len(data))
            data, self._skip = data[skipped:], self._skip - skipped
        count = len(data) // _ROW.itemsize
        rows = np.frombuffer(data, _ROW, count)
        into = slice(self._count, self._count + count)
        self._columns.series_id[into] = rows["series_id"]
        self._columns.step[into] = rows["step"]
        self._columns.time[into] = rows["time"]
        self._columns.value[into] = rows["value"]
        self._count += count
        self._rest = data[count * _ROW.itemsize :]
        if len(data) < _SMALL_PORTION_BYTES:
            await asyncio.sleep(_PAUSE_S)

    def finish(self) -> Points:
        """All points; raises ConnectionError if the end of the COPY is missing."""
        if self._rest != TRAILER or self._skip:
            raise ConnectionError("a COPY from the hot rows ended too early")
        return self._columns.take(slice(0, self._count))


def partition(epoch: int) -> str:
    """The table that holds an epoch's hot rows."""
    return f"metric_points_hot_{epoch:d}"


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of a partition, from `first` up to but not including `end`."""

    first: int
    end: int
    capacity: int  # rows that fit into them


async def block_ranges(connection: Connection, epoch: int, max_bytes: int) -> list[Blocks]:
    """All blocks of a sealed epoch, in equal ranges of at most `max_bytes`.

    So an epoch of any size is rolled up in bounded memory, and each row is read once. (With ranges of series, the
    partition would be scanned once per range, and one huge series would still be too large.) Nobody writes to a sealed
    epoch, so its size is final.
    """
    block_bytes = int(await connection.fetchval("SHOW block_size"))
    size = await connection.fetchval("SELECT pg_relation_size($1::text::regclass)", partition(epoch))
    blocks, pieces = size // block_bytes, -(-size // max_bytes)
    edges = [blocks * piece // pieces for piece in range(pieces + 1)] if pieces else []
    return [
        Blocks(first, end, (end - first) * block_bytes // _STORED_ROW_BYTES) for first, end in itertools.pairwise(edges)
    ]


async def read(connection: Connection, epoch: int, blocks: Blocks) -> Points:
    """The points in these blocks, in their physical order."""
    receiver = _Receiver(blocks.capacity)
    await connection.copy_from_query(
        f"SELECT {', '.join(_COLUMNS)} FROM {partition(epoch)} "  # noqa: S608 - our own numbers and names
        f"WHERE ctid >= '({blocks.first:d},0)' AND ctid < '({blocks.end:d},0)'",
        output=receiver.receive,
        format="binary",
    )
    return receiver.finish()
