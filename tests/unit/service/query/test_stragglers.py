"""Slow ranks are found, and since when."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.query.charts.stragglers import THRESHOLD, RankDurations, scores_of


def durations(rank: int, values: list[float], first: int = 0) -> RankDurations:
    return RankDurations(rank, np.arange(first, first + len(values)), np.array(values))


def test_the_slow_rank_has_the_ratio_to_the_best_and_the_one_that_became_slow_to_itself() -> None:
    steady, always, became = [1.0] * 1_000, [1.6] * 1_000, [1.0] * 600 + [2.0] * 400
    scores = scores_of([durations(0, steady), durations(3, always), durations(5, became)])
    assert scores.window_steps == 20
    fast, slow, now_slow = scores.ranks
    assert (fast.rank, fast.relative, fast.individual, fast.slow_since_step) == (0, 1.0, 1.0, None)
    assert (slow.rank, slow.relative, slow.individual, slow.slow_since_step) == (3, 1 / 1.6, 1.0, 0)
    assert (now_slow.rank, now_slow.relative, now_slow.individual, now_slow.slow_since_step) == (5, 0.5, 0.5, 600)
    assert now_slow.median == 2.0


def test_single_slow_steps_such_as_checkpoints_make_no_straggler() -> None:
    values = [1.0 if step % 10 else 9.0 for step in range(500)]
    (one, other) = scores_of([durations(0, values), durations(1, [1.0] * 500)]).ranks
    assert (one.relative, one.individual, one.slow_since_step, other.relative) == (1.0, 1.0, None, 1.0)


def test_one_that_recovered_is_not_slow_and_one_that_stopped_is_judged_by_its_last_window() -> None:
    recovered = [1.0] * 200 + [3.0] * 200 + [1.0] * 100
    first, second, third = scores_of(
        [durations(0, [1.0] * 500), durations(1, recovered), durations(2, [2.0] * 250)]
    ).ranks
    assert (first.slow_since_step, second.slow_since_step) == (None, None)
    assert (third.relative, third.slow_since_step) == (0.5, 0)


def test_what_is_no_duration_does_not_count() -> None:
    assert scores_of([]).ranks == []
    assert scores_of([durations(0, [math.nan, 0.0, -1.0, math.inf])]).ranks == []
    (only,) = scores_of([durations(0, [math.nan] * 10), durations(1, [1.0, math.nan, 1.0])]).ranks
    assert (only.rank, only.relative) == (1, 1.0)


STEPS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats()), max_size=8, unique_by=lambda one: one[0])


@given(st.lists(STEPS, max_size=3))
def test_scores_are_between_0_and_1_whatever_was_logged(ranks: list[list[tuple[int, float]]]) -> None:
    made = [
        RankDurations(
            rank,
            np.array([step for step, _ in sorted(points)], np.int64),
            np.array([value for _, value in sorted(points)]),
        )
        for rank, points in enumerate(ranks)
    ]
    for one in scores_of(made).ranks:
        assert 0 <= one.relative <= 1
        assert 0 <= one.individual <= 1
        assert (one.slow_since_step is not None) == (min(one.relative, one.individual) < THRESHOLD)
