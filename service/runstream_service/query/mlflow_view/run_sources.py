"""Sources of the points of runs for callers that do not know ranks: all attempts of the lowest rank."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import TYPE_CHECKING

from runstream_service.query.charts.curves import Curve, Range, Sources, batches
from runstream_service.query.reading.series import StoredSeries, series_of_runs

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.read_transaction import Snapshot


async def leading_series(snapshot: Snapshot, caller: Caller, run_ids: Sequence[UUID], key: str) -> list[StoredSeries]:
    """All attempts of the lowest rank of a key, for each run."""
    stored = await series_of_runs(snapshot, caller, list(dict.fromkeys(run_ids)), [key])
    chosen: list[StoredSeries] = []
    for _, of_run in groupby(stored, key=lambda one: one.series.run_id):
        first, *others = of_run
        chosen += [first, *(one for one in others if one.series.rank == first.series.rank)]
    return chosen


async def sources_by_run(
    snapshot: Snapshot, stored: Sequence[StoredSeries], wanted: Range
) -> AsyncGenerator[list[tuple[str, list[Sources]]], None]:
    """Yields the sources of some runs at a time, in their order, by run id. All attempts are included: none replaces
    another one. Runs without points may be left out."""
    waiting: list[Sources] = []
    async with aclosing(batches(snapshot, [Curve((one,)) for one in stored], wanted)) as found:
        async for batch in found:
            *whole, (_, last) = _by_run([*waiting, *batch]) or [("", [])]
            waiting = last  # there may be more of this run
            if whole:
                yield whole
    if waiting:
        yield _by_run(waiting)


def _by_run(sources: Sequence[Sources]) -> list[tuple[str, list[Sources]]]:
    return [(run_id, list(its)) for run_id, its in groupby(sources, key=lambda one: one.series.run_id)]
