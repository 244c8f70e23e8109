"""One latest value per key, for callers that know neither ranks nor attempts, such as MLflow's clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from runstream_service.query.latest import MAX_RUNS

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.query.latest import Latest, LatestPoints


async def read_leading(latest: Latest, caller: Caller, run_ids: Sequence[str]) -> list[LatestPoints]:
    """The leading latest points of any number of runs, in portions of whole runs. Unknown runs are left out.

    Raises:
        InvalidField, ReadTooSlow, DatabaseUnavailable.
    """
    portions = [run_ids[start : start + MAX_RUNS] for start in range(0, len(run_ids), MAX_RUNS)]
    return [leading(await latest.read(caller, portion)) for portion in portions]


def leading(points: LatestPoints) -> LatestPoints:
    """For each run and key, the point of the newest attempt of the lowest rank that logged it.

    The points must be in the order (run, key, rank, attempt).
    """
    if not len(points):
        return points
    new_key = _changes(points.run_index) | _changes(points.key_index)
    new_rank = new_key | _changes(points.rank)
    # The rows of a key's lowest rank are those from where the key begins to where the rank changes; the last is the
    # newest.
    starts = np.flatnonzero(new_rank)
    ends = np.append(starts[1:], len(points)) - 1
    return points.rows(ends[new_key[starts]])


def _changes(column: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    changes = np.ones(len(column), np.bool_)
    np.not_equal(column[1:], column[:-1], out=changes[1:])
    return changes
