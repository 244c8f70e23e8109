"""Finds where the attempts of a run begin: their first step and their first time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.query.charts.curves import Axis, CurveSources, Range, batches, curves_of
from runstream_service.query.reading.series import series_of_runs

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.read_transaction import ReadPool


@dataclass(frozen=True, slots=True)
class Beginning:
    """The least step and the least time. They may be of two points, if the clock was set back."""

    first_step: int
    first_time_us: int


class Beginnings:
    """Reads beginnings from summaries of segments and from hot points; no arrays are read."""

    def __init__(self, read_pool: ReadPool) -> None:
        self._read_pool = read_pool

    async def of_attempt(
        self, caller: Caller, run_id: UUID, keys: Sequence[str], *, rank: int, attempt: int
    ) -> Beginning | None:
        """Where some metrics of a rank begin in one attempt of the run; None if they have no points.

        Raises:
            ReadTooSlow, DatabaseUnavailable, Overloaded.
        """
        return await self._read_pool.run(self._read(caller, run_id, keys, rank, attempt))

    async def _read(
        self, caller: Caller, run_id: UUID, keys: Sequence[str], rank: int, attempt: int
    ) -> Beginning | None:
        steps: list[int] = []
        times: list[int] = []
        async with self._read_pool.transaction() as transaction:
            stored = await series_of_runs(transaction, caller, [run_id], keys, rank=rank, attempt=attempt)
            async with aclosing(batches(transaction, curves_of(stored), Range(Axis.TIME))) as parts:
                async for sources in parts:
                    for one in sources:
                        _note(one, steps, times)
        return Beginning(min(steps), min(times)) if steps else None


def _note(sources: CurveSources, steps: list[int], times: list[int]) -> None:
    """Add the least step and time of some sources, which are on the time axis: positions are times, tiebreakers
    steps."""
    if len(sources.first_step):
        steps.append(int(sources.first_step.min()))
        times.append(int(sources.first.min()))
    if len(sources.hot_position):
        steps.append(int(sources.hot_tiebreaker.min()))
        times.append(int(sources.hot_position.min()))
