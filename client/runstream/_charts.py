"""The results of `Client.chart` and `Client.aggregate`."""

from __future__ import annotations

from array import array
from dataclasses import dataclass


@dataclass(frozen=True)
class ChartSeries:
    """One curve in columns of equal length, with one entry per bucket that has points, in the order of the axis.

    Positions are steps, or microseconds since 1970. `min`, `max` and `mean` are of the finite values, NaN where there
    are none. `numpy.frombuffer(column)` copies nothing. `attempt` is the newest one that has points.
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

    def __len__(self) -> int:
        return len(self.mean)

    def __repr__(self) -> str:
        points = sum(self.point_counts)
        return f"<runstream.ChartSeries {self.key!r} rank {self.rank}: {points} points in {len(self)} buckets>"


@dataclass(frozen=True)
class AggregateCurve:
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
