"""Arrays are read as they were written, whatever is in them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.web.binary import ArrayCurve, Arrays
from tests.web.support import decode

COLUMNS = ("first_position", "mean", "max")
POSITIONS = st.integers(-(2**53), 2**53)
VALUES = st.floats(allow_nan=True)
ROWS = st.lists(st.tuples(POSITIONS, VALUES, VALUES), max_size=20)
NAMES = st.fixed_dictionaries({"run_id": st.text(st.characters(codec="utf-8"), max_size=10), "rank": st.none()})


@given(st.lists(st.tuples(NAMES, ROWS), max_size=5), st.none() | st.just({"series": 5, "message": "ä"}))
def test_what_is_decoded_is_what_was_encoded(
    curves: list[tuple[dict[str, object], list[tuple[int, float, float]]]], cut: dict[str, object] | None
) -> None:
    types = (np.int64, np.float64, np.float64)
    made = [
        ArrayCurve(
            name,
            [np.array([row[at] for row in rows], kind) for at, kind in enumerate(types)],
        )
        for name, rows in curves
    ]
    found = decode(Arrays(COLUMNS, made, cut).encode())
    assert found.head["columns"] == list(COLUMNS)
    assert found.head["cut"] == cut
    assert found.head["curves"] == [{**name, "count": len(rows)} for name, rows in curves]
    for columns, (_, rows) in zip(found.curves, curves, strict=True):
        for at, column in enumerate(COLUMNS):
            np.testing.assert_array_equal(columns[column], np.array([row[at] for row in rows], np.float64))
