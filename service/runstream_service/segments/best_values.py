"""The best values of series: the least and the greatest finite value, and the first step that had each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LAST_STEP = np.iinfo(np.int64).max


@dataclass(slots=True)
class BestValues:
    """Row i of each column is one series. A series without a finite value has the minimum +Infinity, the maximum
    -Infinity, so that any finite value is better, and steps 0."""

    min_value: NDArray[np.float64]
    min_step: NDArray[np.int64]
    max_value: NDArray[np.float64]
    max_step: NDArray[np.int64]

    def take(self, wanted: slice | NDArray[np.intp] | NDArray[np.bool_]) -> BestValues:
        """The rows at these positions."""
        return BestValues(self.min_value[wanted], self.min_step[wanted], self.max_value[wanted], self.max_step[wanted])

    def improve(self, rows: NDArray[np.int64], other: BestValues) -> None:
        """Replaces values where `other` has better ones; row i of `other` belongs to row rows[i] of this. No row may
        occur twice in `rows`. Of equal values, the lower step counts."""
        for value, step, found, found_step in (
            (self.min_value, self.min_step, other.min_value, other.min_step),
            (self.max_value, self.max_step, other.max_value, other.max_step),
        ):
            better = found < value[rows] if value is self.min_value else found > value[rows]
            better |= (found == value[rows]) & (found_step < step[rows])
            value[rows[better]], step[rows[better]] = found[better], found_step[better]

    def of_groups(self, starts: NDArray[np.intp]) -> BestValues:
        """The best values of groups of consecutive rows; `starts` has the first row of each group."""
        counts = np.diff(starts, append=len(self.min_value))
        least, most = np.fmin.reduceat(self.min_value, starts), np.fmax.reduceat(self.max_value, starts)
        is_least, is_most = self.min_value == np.repeat(least, counts), self.max_value == np.repeat(most, counts)
        first_least = np.minimum.reduceat(np.where(is_least, self.min_step, _LAST_STEP), starts)
        first_most = np.minimum.reduceat(np.where(is_most, self.max_step, _LAST_STEP), starts)
        none = ~np.isfinite(least)
        return BestValues(least, np.where(none, 0, first_least), most, np.where(none, 0, first_most))

    def with_nan(self) -> BestValues:
        """The best values as callers get them: NaN where there is no finite value."""
        none = np.isinf(self.min_value)
        return BestValues(
            np.where(none, np.nan, self.min_value), self.min_step, np.where(none, np.nan, self.max_value), self.max_step
        )


def best_values(value: NDArray[np.float64], step: NDArray[np.int64], starts: NDArray[np.intp]) -> BestValues:
    """The best values of series; `starts` has the position of the first point of each. The points of a series are
    consecutive, and ordered by step."""
    if not len(starts):
        return BestValues(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    finite = np.isfinite(value)
    low = high = value
    if not finite.all():
        low, high = np.where(finite, value, np.inf), np.where(finite, value, -np.inf)
    least, most = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    return BestValues(least, _first_steps(low, least, step, starts), most, _first_steps(high, most, step, starts))


def _first_steps(
    value: NDArray[np.float64], best: NDArray[np.float64], step: NDArray[np.int64], starts: NDArray[np.intp]
) -> NDArray[np.int64]:
    """The step of the first point of each series that has its best value."""
    equal = np.flatnonzero(value == np.repeat(best, np.diff(starts, append=len(value))))
    first = equal[np.searchsorted(equal, starts)]
    return np.where(np.isinf(best), 0, step[first])
