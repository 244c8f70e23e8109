"""Binary COPY rows to columns, and back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.database.copy_rows import RowFormat, Rows, body, float64, int64, unix_us

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"
ROW_FORMAT = RowFormat([("series_id", ">i4"), ("step", ">i8"), ("time", ">i8"), ("value", ">f8")])
INT64 = st.integers(-(2**63), 2**63 - 1)
Row = tuple[int, int, int, float]
ROWS = st.lists(st.tuples(st.integers(1, 3), INT64, st.integers(-(2**62), 2**62), st.floats()), max_size=40)


def encode(rows: list[Row]) -> bytes:
    """The definition of the format, written independently."""
    return HEADER + b"".join(struct.pack(">hiiiqiqid", 4, 4, a, 8, b, 8, c, 8, d) for a, b, c, d in rows) + TRAILER


def columns(rows: Rows) -> list[tuple[int, int, int, bytes]]:
    values = (struct.pack(">d", value) for value in float64(rows["value"]))
    return list(
        zip(
            rows["series_id"].tolist(),
            int64(rows["step"]).tolist(),
            unix_us(rows["time"]).tolist(),
            values,
            strict=True,
        )
    )


def expected(rows: list[Row]) -> list[tuple[int, int, int, bytes]]:
    return [(a, b, c + 946_684_800_000_000, struct.pack(">d", d)) for a, b, c, d in rows]


@given(ROWS)
def test_rows_come_out_and_go_in_bit_for_bit(rows: list[Row]) -> None:
    data = encode(rows)
    decoded = ROW_FORMAT.rows(body(data))
    assert columns(decoded) == expected(rows)
    assert ROW_FORMAT.copy({name: decoded[name] for name in ("series_id", "step", "time", "value")}) == data


@pytest.mark.parametrize(
    "row",
    [
        struct.pack(">hiiiqiqid", 5, 4, 1, 8, 1, 8, 1, 8, 1.0),  # another number of columns
        struct.pack(">hiiiqiqid", 4, 4, 1, 8, 1, 4, 1, 8, 1.0),  # another width
        struct.pack(">hiiiqiid", 4, 4, 1, 8, 1, -1, 8, 1.0),  # a null
    ],
)
def test_rows_of_another_layout_are_noticed(row: bytes) -> None:
    with pytest.raises(AssertionError):
        ROW_FORMAT.rows(row)


def test_copy_without_its_end_is_noticed() -> None:
    data = encode([(1, 2, 3, 4.0)])[:-2]
    with pytest.raises(AssertionError, match="no end"):
        body(data)
