"""Rows of PostgreSQL's COPY BINARY format -> numpy columns, without a Python object per point.

https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": a header; for each row the number of fields, and
for each field its length and its bytes in network order; a trailer. Rows whose columns all have a fixed width and are
never null have the same layout, so they are one structured array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.void]

SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
HEADER_BYTES = len(SIGNATURE) + 8  # flags, and the length of an extension that nobody has defined yet
TRAILER = b"\xff\xff"
# timestamptz counts microseconds from 2000-01-01 on.
EPOCH_2000_UNIX_US = 946_684_800_000_000


class Layout:
    """The layout of rows of fixed-width columns, given as (name, numpy type) in their order."""

    def __init__(self, columns: Sequence[tuple[str, str]]) -> None:
        self._widths = {name: np.dtype(type_).itemsize for name, type_ in columns}
        fields: list[tuple[str, str]] = [("fields", ">i2")]
        for name, type_ in columns:
            fields += [(f"{name}_bytes", ">i4"), (name, type_)]
        self.dtype: np.dtype[Any] = np.dtype(fields)

    def rows(self, data: bytes | bytearray | memoryview) -> Rows:
        """Rows without header and trailer; nothing is copied."""
        assert len(data) % self.dtype.itemsize == 0, "rows have another layout than expected"
        rows = np.frombuffer(data, self.dtype)
        assert (rows["fields"] == len(self._widths)).all(), "a row has other columns than expected"
        for name, width in self._widths.items():
            assert (rows[f"{name}_bytes"] == width).all(), f"{name} has another width than expected, or is null"
        return rows

    def copy(self, columns: Mapping[str, NDArray[Any]]) -> bytes:
        """The whole COPY of rows with these columns."""
        rows = np.empty(len(next(iter(columns.values()))), self.dtype)
        rows["fields"] = len(self._widths)
        for name, width in self._widths.items():
            rows[f"{name}_bytes"] = width
            rows[name] = columns[name]
        return b"".join((SIGNATURE, bytes(HEADER_BYTES - len(SIGNATURE)), rows.tobytes(), TRAILER))


class RowStream:
    """Takes the bytes of a COPY in whatever portions they arrive, and returns rows of a fixed layout in blocks."""

    def __init__(self, layout: Layout, *, block_rows: int) -> None:
        self._layout = layout
        self._block_bytes = block_rows * layout.dtype.itemsize
        self._pending = bytearray()
        self._header_read = False

    def feed(self, data: bytes) -> list[Rows]:
        """The blocks that are complete with this portion."""
        self._pending += data
        if not self._header_read:
            if len(self._pending) < HEADER_BYTES:
                return []
            assert self._pending.startswith(SIGNATURE), "not binary COPY"
            del self._pending[:HEADER_BYTES]
            self._header_read = True
        blocks = []
        while len(self._pending) >= self._block_bytes + len(TRAILER):
            blocks.append(self._take(self._block_bytes))
        return blocks

    def finish(self) -> Rows:
        """The last rows, after the last portion."""
        assert self._pending.endswith(TRAILER), "the COPY has no end"
        return self._take(len(self._pending) - len(TRAILER))

    def _take(self, size: int) -> Rows:
        block = bytes(memoryview(self._pending)[:size])
        del self._pending[:size]
        return self._layout.rows(block)


def body(data: bytes | bytearray) -> memoryview:
    """The rows of a whole COPY: the bytes between its header and trailer."""
    assert data.startswith(SIGNATURE), "not binary COPY"
    assert data.endswith(TRAILER), "the COPY has no end"
    return memoryview(data)[HEADER_BYTES : len(data) - len(TRAILER)]


def int64(column: NDArray[Any]) -> NDArray[np.int64]:
    """A column of network-order integers as native ones."""
    return column.astype(np.int64)


def float64(column: NDArray[Any]) -> NDArray[np.float64]:
    """A column of network-order floats as native ones."""
    return column.astype(np.float64)


def unix_us(column: NDArray[Any]) -> NDArray[np.int64]:
    """A column of timestamptz as microseconds since 1970."""
    return column.astype(np.int64) + EPOCH_2000_UNIX_US
