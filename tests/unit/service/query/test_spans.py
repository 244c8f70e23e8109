"""Few spans that have all numbers."""

from __future__ import annotations

import itertools
import random

import pytest

from runstream_service.query.reading.hot_rows import MAX_SPANS, spans_of


@pytest.mark.parametrize(
    ("numbers", "lows", "highs"),
    [
        ([7], [7], [7]),
        ([9, 7, 8, 7], [7], [9]),
        ([1, 9, 30], [1, 30], [9, 30]),  # those that are near are one
        ([-(2**63), 2**63 - 1], [-(2**63)], [2**63 - 1]),
    ],
)
def test_spans_of_a_few_numbers(numbers: list[int], lows: list[int], highs: list[int]) -> None:
    spans = spans_of(numbers)
    assert (spans.lows, spans.highs) == (lows, highs)


def test_many_numbers_are_divided_where_the_gaps_are_widest() -> None:
    numbers = [100 * (position + position // 20 * 1_000) for position in range(40)]
    spans = spans_of(numbers)
    assert len(spans.lows) == MAX_SPANS
    assert numbers[20] in spans.lows


@pytest.mark.parametrize("seed", range(20))
def test_every_number_is_in_a_span_and_spans_are_apart(seed: int) -> None:
    rng = random.Random(seed)
    numbers = [rng.randrange(10 ** rng.randrange(1, 15)) for _ in range(rng.randrange(1, 200))]
    spans = spans_of(numbers)
    pairs = list(zip(spans.lows, spans.highs, strict=True))
    assert len(pairs) <= MAX_SPANS
    assert all(any(low <= number <= high for low, high in pairs) for number in numbers)
    assert all(low <= high for low, high in pairs)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(pairs))
    assert {number for pair in pairs for number in pair} <= set(numbers)


def test_spans_as_sql() -> None:
    assert spans_of([1, 2, 50]).condition("s") == (
        "s BETWEEN '1'::bigint AND '2'::bigint OR s BETWEEN '50'::bigint AND '50'::bigint"
    )
