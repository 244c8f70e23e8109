"""Chooses the ranks and attempts that MLflow's clients see, who know neither.

Of latest values they see one per key: that of the lowest rank and its newest attempt. Of rows they see those of all
attempts of the lowest rank.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from runstream_service.query.charts.curves import Curve, CurveSources, Range, batches
from runstream_service.query.latest import MAX_RUNS
from runstream_service.query.reading.series import StoredSeries, series_of_runs

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.latest import Latest, LatestPoints
    from runstream_service.query.reading.read_transaction import ReadTransaction


async def read_primary_points(latest: Latest, caller: Caller, run_ids: Sequence[str]) -> list[LatestPoints]:
    """The primary points of any number of runs, in portions of whole runs. Unknown runs are left out.

    Raises:
        InvalidField, ReadTooSlow, DatabaseUnavailable.
    """
    portions = [run_ids[start : start + MAX_RUNS] for start in range(0, len(run_ids), MAX_RUNS)]
    return [primary_points(await latest.read(caller, portion)) for portion in portions]


def primary_points(points: LatestPoints) -> LatestPoints:
    """For each run and key, the point of the newest attempt of the lowest rank. Best values are those of all ranks and
    attempts.

    The points must be in the order (run, key, rank, attempt).
    """
    if not len(points):
        return points
    new_key = _changes(points.run_index) | _changes(points.key_index)
    new_rank = new_key | _changes(points.rank)
    # The rows of the lowest rank of a key are those from the first row of the key to where the rank changes. The last
    # of them is the newest attempt.
    starts = np.flatnonzero(new_rank)
    ends = np.append(starts[1:], len(points)) - 1
    found = points.take(ends[new_key[starts]])
    return found if points.best is None else replace(found, best=points.best.of_groups(np.flatnonzero(new_key)))


def _changes(column: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    changes = np.ones(len(column), np.bool_)
    np.not_equal(column[1:], column[:-1], out=changes[1:])
    return changes


async def primary_rank_series(
    transaction: ReadTransaction, caller: Caller, run_ids: Sequence[UUID], key: str
) -> list[StoredSeries]:
    """For each run, the series of a key of the lowest rank: one for each attempt."""
    stored = await series_of_runs(transaction, caller, list(dict.fromkeys(run_ids)), [key])
    chosen: list[StoredSeries] = []
    for _, of_run in groupby(stored, key=lambda one: one.series.run_id):
        first, *others = of_run
        chosen += [first, *(one for one in others if one.series.rank == first.series.rank)]
    return chosen


async def sources_by_run(
    transaction: ReadTransaction, stored: Sequence[StoredSeries], wanted: Range
) -> AsyncGenerator[list[tuple[str, list[CurveSources]]], None]:
    """Yields (run id, sources) of all runs, in their order, some runs at a time. There is one source for each attempt;
    none replaces another. Runs without points may be left out."""
    waiting: list[CurveSources] = []
    async with aclosing(batches(transaction, [Curve((one,)) for one in stored], wanted)) as found:
        async for batch in found:
            *whole, (_, last) = _by_run([*waiting, *batch]) or [("", [])]
            waiting = last  # there may be more of this run
            if whole:
                yield whole
    if waiting:
        yield _by_run(waiting)


def _by_run(sources: Sequence[CurveSources]) -> list[tuple[str, list[CurveSources]]]:
    return [(run_id, list(its)) for run_id, its in groupby(sources, key=lambda one: one.series.run_id)]
