"""Points as tuples, and strategies for them: mostly few and colliding, sometimes at the ends of what is allowed."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from runstream_service.segments.points import Points

INT64 = st.integers(-(2**63), 2**63 - 1)
# Years 1 to 9999, in microseconds since 2000.
TIME = st.one_of(st.integers(-5, 5), st.integers(-63_082_281_600_000_000, 252_455_615_999_999_999))
STEP = st.one_of(st.integers(0, 5), st.sampled_from([-(2**63), 2**63 - 1, -1, 2**62]), INT64)
VALUE = st.one_of(
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1e-45, 1.5, 0.1, 1.7e308, -1.7e308, 3.4e38]),
    st.floats(),
    st.floats(width=32),
)
Point = tuple[int, int, int, float]  # series_id, step, microseconds since 2000, value
POINT = st.tuples(st.one_of(st.integers(1, 3), st.sampled_from([2**63 - 1, 70_000])), STEP, TIME, VALUE)


def columns(points: list[Point]) -> Points:
    series, step, time, value = zip(*points, strict=True) if points else ((), (), (), ())
    return Points(
        np.array(series, np.int64), np.array(step, np.int64), np.array(time, np.int64), np.array(value, np.float64)
    )
