"""Rows of PostgreSQL's COPY BINARY format -> numpy columns, without a Python object per point.

https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": a header; for each row the number of fields, and
for each field its length and its bytes in network order; a trailer. Rows whose columns all have a fixed width and are
never null have the same layout, so they are one structured array.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from runstream_service.database.connections import Connection, PooledConnection

Rows: TypeAlias = NDArray[np.void]
Sink = Callable[[bytes], Coroutine[Any, Any, None]]

SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
HEADER = SIGNATURE + bytes(8)  # flags, and the length of an extension; PostgreSQL defines none yet
HEADER_BYTES = len(HEADER)
TRAILER = b"\xff\xff"
# Large enough that the cost of a message does not matter, small enough that the backend starts on the first piece while
# the others are still being sent.
PIECE_BYTES = 256 * 1024
# timestamptz counts microseconds from 2000-01-01 on.
EPOCH_2000_UNIX_US = 946_684_800_000_000


class RowFormat:
    """The layout of rows with fixed-width columns. `columns`: their names and numpy types, in order."""

    def __init__(self, columns: Sequence[tuple[str, str]]) -> None:
        self._widths = {name: np.dtype(type_).itemsize for name, type_ in columns}
        self.names = tuple(self._widths)
        fields: list[tuple[str, str]] = [("fields", ">i2")]
        for name, type_ in columns:
            fields += [(f"{name}_bytes", ">i4"), (name, type_)]
        self.dtype: np.dtype[Any] = np.dtype(fields)

    def rows(self, data: bytes | bytearray | memoryview) -> Rows:
        """The bytes of rows, without header and trailer, as a structured array. Nothing is copied."""
        assert len(data) % self.dtype.itemsize == 0, "rows have another layout than expected"
        rows = np.frombuffer(data, self.dtype)
        assert (rows["fields"] == len(self._widths)).all(), "a row has other columns than expected"
        for name, width in self._widths.items():
            assert (rows[f"{name}_bytes"] == width).all(), f"{name} has another width than expected, or is null"
        return rows

    def copy(self, columns: Mapping[str, NDArray[Any]]) -> bytes:
        """Encode columns as a whole COPY, with header and trailer."""
        rows = np.empty(len(next(iter(columns.values()))), self.dtype)
        rows["fields"] = len(self._widths)
        for name, width in self._widths.items():
            rows[f"{name}_bytes"] = width
            rows[name] = columns[name]
        return b"".join((HEADER, rows.tobytes(), TRAILER))


async def pieces(rows: bytes | memoryview) -> AsyncIterator[bytes]:
    """An encoded COPY in pieces, as asyncpg's copy_to_table takes it."""
    for start in range(0, len(rows), PIECE_BYTES):
        # A view is enough: the driver copies it into its write buffer.
        yield cast("bytes", rows[start : start + PIECE_BYTES])


async def collect(connection: Connection | PooledConnection, statement: str) -> list[bytes]:
    """The whole COPY of a statement without parameters, in the portions in which it arrived."""
    portions: list[bytes] = []

    async def keep(data: bytes) -> None:
        portions.append(data)

    await connection.copy_from_query(statement, output=keep, format="binary")
    return portions


async def stream(
    connection: Connection | PooledConnection,
    statement: str,
    sink: Sink,
    *,
    before: str = "",
    after: str = "",
    timeout_s: float | None = None,
) -> None:
    """Passes the COPY of a statement without parameters to `sink` as it arrives; PostgreSQL waits while the sink does.

    `before` and `after`: further statements, without results, that are sent in the same message, so that they take no
    round trip of their own. The driver's public method cannot do that.
    """
    copy = f"COPY ({statement}) TO STDOUT (FORMAT binary)"
    statements = "; ".join(part for part in (before, copy, after) if part)
    await connection._copy_out(statements, sink, timeout_s)  # type: ignore[union-attr]


_NUMBER = RowFormat([("number", ">i4")])


async def number(connection: Connection | PooledConnection, statement: str, *, before: str, timeout_s: float) -> int:
    """The one int4 that a statement returns. `before`: see `stream`."""
    found = bytearray()

    async def keep(data: bytes) -> None:
        found.extend(data)

    await stream(connection, statement, keep, before=before, timeout_s=timeout_s)
    return int(_NUMBER.rows(body(found))["number"][0])


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
