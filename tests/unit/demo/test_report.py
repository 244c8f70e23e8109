"""The report of the demo."""

from __future__ import annotations

import math
from array import array

import runstream
from runstream_service.demo.report import Stored, compare
from runstream_service.demo.view import sparkline
from runstream_service.demo.worker import Finished, Logged

STATS = runstream.RunStats(0, 0, 0, 0, {}, 0, 0, 0, False, 0, 0, "", "disk", "")
RUN = runstream.RunInfo("0" * 32, 0, "digits", "mlp", "FINISHED", False, "", 0, None, {}, {})


def rank(*losses: float) -> Finished:
    logged = Logged()
    for step, loss in enumerate(losses):
        logged.add({"loss": loss}, step)
    return Finished(0, 0, logged, STATS, 0.0, 1.0)


def stored(*losses: float, key: str = "loss") -> Stored:
    steps = array("q", range(len(losses)))
    return Stored(RUN, [runstream.SeriesColumns(key, 0, 0, steps, array("q", steps), array("d", losses))])


def test_the_same_values_are_no_difference_also_nan() -> None:
    assert compare(stored(1.0, math.nan, -math.inf), [rank(1.0, math.nan, -math.inf)]) == []


def test_a_missing_point_is_a_difference() -> None:
    assert compare(stored(1.0), [rank(1.0, 2.0)]) == [
        "loss of rank 0: 2 points logged, 1 read back, with other steps or values"
    ]


def test_another_value_is_a_difference() -> None:
    assert len(compare(stored(1.0, 2.0), [rank(1.0, 2.5)])) == 1


def test_a_series_that_nobody_logged_is_a_difference() -> None:
    assert compare(stored(1.0, key="other"), [rank(1.0)]) == [
        "loss of rank 0: 1 points logged, 0 read back",
        "other of rank 0: 0 points logged, 1 read back",
    ]


def test_a_sparkline_falls_with_its_values_and_keeps_its_width() -> None:
    assert sparkline([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 8) == "█▇▆▅▄▃▂▁"
    assert len(sparkline([float(n) for n in range(1000)], 50)) == 50
    assert sparkline([], 50) == ""
    assert sparkline([1.0], 50) == "▁"
