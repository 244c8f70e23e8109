"""Which segments overlap, against the definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.query.charts.curves import Pairs, overlapping

PAIR = st.tuples(st.integers(0, 6), st.integers(0, 3))
SPANS = st.lists(st.tuples(PAIR, PAIR).map(lambda pair: (min(pair), max(pair))), max_size=8)


def pairs(found: list[tuple[int, int]]) -> Pairs:
    return np.array([a for a, _ in found], np.int64), np.array([b for _, b in found], np.int64)


@given(SPANS, st.lists(PAIR, max_size=4))
def test_spans_overlap_if_one_begins_before_the_other_ends(
    spans: list[tuple[tuple[int, int], tuple[int, int]]], points: list[tuple[int, int]]
) -> None:
    points = sorted(points)
    found = overlapping(pairs([a for a, _ in spans]), pairs([b for _, b in spans]), pairs(points))
    for i, (begin, end) in enumerate(spans):
        others = [span for j, span in enumerate(spans) if j != i]
        apart = all(other[1] <= begin or end <= other[0] for other in others)
        assert found[i] == (not apart or any(begin < point < end for point in points))
