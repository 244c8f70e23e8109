"""Points of one series as columns, mostly in the order (step, time)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Columns:
    """Points of one series; row i of every column is one point."""

    step: NDArray[np.int64]
    time_unix_us: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)

    def part(self, start: int | None, end: int | None) -> Columns:
        """The points from `start` up to `end`; nothing is copied."""
        return Columns(self.step[start:end], self.time_unix_us[start:end], self.value[start:end])

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Columns:
        """The points at these positions, copied."""
        return Columns(self.step[which], self.time_unix_us[which], self.value[which])

    def count_before(self, step: int, time_unix_us: int) -> int:
        """How many points are before (step, time). The points must be sorted."""
        start = int(np.searchsorted(self.step, step, "left"))
        end = int(np.searchsorted(self.step, step, "right"))
        return start + int(np.searchsorted(self.time_unix_us[start:end], time_unix_us, "left"))

    def between(self, min_step: int, max_step: int) -> Columns:
        """The points with steps from `min_step` to `max_step`, both included. The points must be sorted."""
        if not len(self) or (self.step[0] >= min_step and self.step[-1] <= max_step):
            return self
        return self.part(
            int(np.searchsorted(self.step, min_step, "left")), int(np.searchsorted(self.step, max_step, "right"))
        )

    def in_order(self) -> Columns:
        """The points sorted by (step, time). Points that are sorted already, as most are, are not copied."""
        later = self.step[1:] > self.step[:-1]
        if later.all() or (later | ((self.step[1:] == self.step[:-1]) & self._time_rises())).all():
            return self
        order = np.lexsort((self.time_unix_us, self.step))
        return Columns(self.step[order], self.time_unix_us[order], self.value[order])

    def _time_rises(self) -> NDArray[np.bool_]:
        rises: NDArray[np.bool_] = self.time_unix_us[1:] >= self.time_unix_us[:-1]
        return rises


def joined(parts: Sequence[Columns]) -> Columns:
    """All points of `parts`, of which there is at least one, in their order."""
    if len(parts) == 1:
        return parts[0]
    return Columns(
        np.concatenate([part.step for part in parts]),
        np.concatenate([part.time_unix_us for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


NO_POINTS = Columns(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))
