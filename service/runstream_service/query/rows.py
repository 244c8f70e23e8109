"""Rows of COPY BINARY to numpy columns: no Python object for a point, memory for one block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# PostgreSQL's binary COPY format (https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT): all
# columns are fixed-width and never null, so every row has the same layout.
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_HEADER_BYTES = len(_SIGNATURE) + 8  # flags, and the length of an extension that nobody has defined yet
_TRAILER = b"\xff\xff"
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("position_bytes", ">i4"),
        ("position", ">i4"),
        ("step_bytes", ">i4"),
        ("step", ">i8"),
        ("time_bytes", ">i4"),
        ("time", ">i8"),
        ("value_bytes", ">i4"),
        ("value", ">f8"),
    ]
)
# timestamptz counts microseconds from 2000-01-01 on.
_EPOCH_2000_UNIX_US = 946_684_800_000_000

MAX_PIECE_POINTS = 16_384


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive points of one series; `position` is the one of the series in the question, from 1."""

    position: int
    step: NDArray[np.int64]
    time_unix_us: NDArray[np.int64]
    value: NDArray[np.float64]


class RowDecoder:
    """Takes the bytes of a COPY in whatever portions they arrive, gives pieces of at most 16,384 points."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._header_read = False

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that are complete with this portion. Rows wait until there is a block of them."""
        self._pending += data
        if not self._header_read:
            if len(self._pending) < _HEADER_BYTES:
                return
            assert self._pending.startswith(_SIGNATURE), "not binary COPY"
            del self._pending[:_HEADER_BYTES]
            self._header_read = True
        while len(self._pending) >= _ROW.itemsize * MAX_PIECE_POINTS + len(_TRAILER):
            yield from self._take(MAX_PIECE_POINTS)

    def finish(self) -> Iterator[Piece]:
        """The last pieces, after the last portion."""
        rows, rest = divmod(len(self._pending) - len(_TRAILER), _ROW.itemsize)
        assert rest == 0, "the COPY ended within a row"
        assert self._pending.endswith(_TRAILER), "the COPY has no end"
        yield from self._take(rows)

    def _take(self, rows: int) -> Iterator[Piece]:
        if rows == 0:
            return
        block = np.frombuffer(bytes(self._pending[: rows * _ROW.itemsize]), _ROW)
        del self._pending[: rows * _ROW.itemsize]
        assert (block["fields"] == 4).all(), "a row has other columns than expected"
        position = block["position"]
        starts = [0, *(np.flatnonzero(np.diff(position)) + 1).tolist(), rows]
        for start, end in itertools.pairwise(starts):
            part = block[start:end]
            yield Piece(
                int(position[start]),
                part["step"].astype(np.int64),
                part["time"].astype(np.int64) + _EPOCH_2000_UNIX_US,
                part["value"].astype(np.float64),
            )
