"""Binary COPY rows to columns, however they are cut."""

from __future__ import annotations

import itertools
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.query.rows import MAX_PIECE_POINTS, Piece, RowDecoder

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
INT64 = st.integers(-(2**63), 2**63 - 1)
Row = tuple[int, int, int, float]


def encode(rows: list[Row]) -> bytes:
    """The format's definition, written down a second time."""
    body = b"".join(
        struct.pack(">hiiiqiqid", 4, 4, position, 8, step, 8, time, 8, value) for position, step, time, value in rows
    )
    return HEADER + body + b"\xff\xff"


def decode(data: bytes, *cuts: int) -> list[Piece]:
    decoder = RowDecoder()
    pieces = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        pieces += list(decoder.feed(data[start:end]))
    return pieces + list(decoder.finish())


def rows_of(pieces: list[Piece]) -> list[tuple[int, int, int, bytes]]:
    return [
        (piece.position, int(step), int(time), struct.pack(">d", value))
        for piece in pieces
        for step, time, value in zip(piece.step, piece.time_unix_us, piece.value, strict=True)
    ]


@given(
    st.lists(st.tuples(st.integers(1, 3), INT64, st.integers(-(2**62), 2**62), st.floats()), max_size=40),
    st.lists(st.integers(0, 10**6), max_size=6),
)
def test_rows_come_out_bit_for_bit_however_the_stream_is_cut(rows: list[Row], cuts: list[int]) -> None:
    rows.sort(key=lambda row: row[0])
    expected = [
        (position, step, time + 946_684_800_000_000, struct.pack(">d", value)) for position, step, time, value in rows
    ]
    pieces = decode(encode(rows), *cuts)
    assert rows_of(pieces) == expected
    assert [piece.position for piece in pieces] == sorted({row[0] for row in rows})


def test_long_series_comes_in_pieces_of_bounded_size_and_memory_stays_bounded() -> None:
    count = 3 * MAX_PIECE_POINTS + 5
    data = encode([(1, step, 0, math.nan) for step in range(count)])
    decoder = RowDecoder()
    sizes: list[int] = []
    for start in range(0, len(data), 65_536):
        sizes += [len(piece.step) for piece in decoder.feed(data[start : start + 65_536])]
        assert len(decoder._pending) <= MAX_PIECE_POINTS * 46 + 65_536
    sizes += [len(piece.step) for piece in decoder.finish()]
    assert sizes == [MAX_PIECE_POINTS] * 3 + [5]


def test_empty_answer_has_no_piece() -> None:
    assert decode(encode([])) == []


def test_block_whose_end_is_only_the_trailer_away_is_complete() -> None:
    rows: list[Row] = [(1, step, 0, 0.0) for step in range(MAX_PIECE_POINTS)]
    assert [len(piece.step) for piece in decode(encode(rows), 100)] == [MAX_PIECE_POINTS]


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\xff\xff\xff"])
def test_stream_that_ends_within_a_row_is_an_error_and_not_a_short_answer(damage: bytes) -> None:
    data = encode([(1, 1, 1, 1.0), (1, 2, 2, 2.0)])[:-10] + damage
    with pytest.raises(AssertionError):
        decode(data)


def test_columns_own_their_memory_in_native_order() -> None:
    (piece,) = decode(encode([(1, 7, 0, 2.5)]))
    assert (piece.step.dtype, piece.value.dtype) == (np.dtype(np.int64), np.dtype(np.float64))
