"""The results of `Client.chart` and `Client.aggregate`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from runstream import _frames
from runstream._frames import Column, Tabular


@dataclass(frozen=True)
class ChartSeries(Tabular):
    """One curve in columns of equal length, with one entry per bucket that has points, in the order of the axis.

    Positions are steps, or microseconds since 1970 if `axis` is time. `min`, `max` and `mean` are of the finite values,
    NaN where there are none. `numpy.frombuffer(column)` copies nothing. `attempt` is the newest one that has points.
    """

    run_id: str
    key: str
    rank: int
    attempt: int
    first_positions: array[int]
    last_positions: array[int]
    point_counts: array[int]
    non_finite_counts: array[int]
    first: array[float]
    last: array[float]
    min: array[float]
    max: array[float]
    mean: array[float]
    axis: str = "step"

    def __len__(self) -> int:
        return len(self.mean)

    def __repr__(self) -> str:
        points = sum(self.point_counts)
        return f"<runstream.ChartSeries {self.key!r} rank {self.rank}: {points} points in {len(self)} buckets>"

    def _columns(self) -> list[Column]:
        return _columns_of_curves([self], self.axis)


class Chart(list[ChartSeries], Tabular):
    """The curves of a chart. `axis` is step or time."""

    def __init__(self, curves: Sequence[ChartSeries] = (), axis: str = "step") -> None:
        super().__init__(curves)
        self.axis = axis

    def _columns(self) -> list[Column]:
        return _columns_of_curves(self, self.axis)


@dataclass(frozen=True)
class AggregateCurve(Tabular):
    """One curve out of all ranks in columns of equal length, one entry per bucket that has points, in order of steps.

    `rank_counts` is the number of ranks with a finite value. If it is 0, `min`, `max` and `mean` are NaN and the ranks
    are -1. `non_finite_counts` is the number of points of all ranks that are NaN or infinite.
    `numpy.frombuffer(column)` copies nothing.
    """

    run_id: str
    key: str
    first_steps: array[int]
    last_steps: array[int]
    rank_counts: array[int]
    min: array[float]
    max: array[float]
    mean: array[float]
    min_ranks: array[int]
    max_ranks: array[int]
    non_finite_counts: array[int]

    def __len__(self) -> int:
        return len(self.mean)

    def __repr__(self) -> str:
        return f"<runstream.AggregateCurve {self.key!r}: {len(self)} buckets>"

    def _columns(self) -> list[Column]:
        return [
            _frames.same_texts("run_id", [(self.run_id, len(self))]),
            _frames.same_texts("key", [(self.key, len(self))]),
            _frames.numbers("first_step", "q", [self.first_steps]),
            _frames.numbers("last_step", "q", [self.last_steps]),
            _frames.numbers("rank_count", "I", [self.rank_counts]),
            _frames.numbers("min", "d", [self.min]),
            _frames.numbers("max", "d", [self.max]),
            _frames.numbers("mean", "d", [self.mean]),
            _frames.numbers("min_rank", "i", [self.min_ranks]),
            _frames.numbers("max_rank", "i", [self.max_ranks]),
            _frames.numbers("non_finite_count", "I", [self.non_finite_counts]),
        ]


def _columns_of_curves(curves: Sequence[ChartSeries], axis: str) -> list[Column]:
    first, last = [one.first_positions for one in curves], [one.last_positions for one in curves]
    by_step = axis == "step"
    return [
        _frames.same_texts("run_id", [(one.run_id, len(one)) for one in curves]),
        _frames.same_texts("key", [(one.key, len(one)) for one in curves]),
        _frames.same_numbers("rank", [(one.rank, len(one)) for one in curves]),
        _frames.same_numbers("attempt", [(one.attempt, len(one)) for one in curves]),
        _frames.numbers("first_step", "q", first) if by_step else _frames.times("first_time", first),
        _frames.numbers("last_step", "q", last) if by_step else _frames.times("last_time", last),
        _frames.numbers("point_count", "I", [one.point_counts for one in curves]),
        _frames.numbers("non_finite_count", "I", [one.non_finite_counts for one in curves]),
        _frames.numbers("first", "d", [one.first for one in curves]),
        _frames.numbers("last", "d", [one.last for one in curves]),
        _frames.numbers("min", "d", [one.min for one in curves]),
        _frames.numbers("max", "d", [one.max for one in curves]),
        _frames.numbers("mean", "d", [one.mean for one in curves]),
    ]
