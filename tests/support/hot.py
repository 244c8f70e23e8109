"""Hot points made by hand, and the commits that count them: roll-up stops if the two do not agree."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg
import numpy as np

from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US
from runstream_service.segments.points import Points
from runstream_service.stores.hot_batches import BatchPoints, EncodedBatches
from runstream_service.stores.hot_store import HotStore
from tests.support.points import Point, columns

# A connection of asyncpg, of a pool or not, or one that a test has wrapped. It may be in a transaction.
Connection: TypeAlias = Any

_PRODUCERS = "SELECT series_id, run_id, rank FROM series WHERE series_id = ANY ($1)"
_COUNT = """
INSERT INTO commits (commit_no, epoch, point_count)
VALUES (coalesce($1::int, nextval('commit_numbers')::int), $2, $3)
    ON CONFLICT (commit_no) DO UPDATE SET point_count = commits.point_count + excluded.point_count
RETURNING commit_no
"""
_SELECTED = """
WITH given AS MATERIALIZED ({query}
), points AS MATERIALIZED (
    SELECT g.*, row_number() OVER () AS place
      FROM given AS g (series_id, step, time, value)
), commit AS (
    INSERT INTO commits (commit_no, epoch, point_count)
    SELECT nextval('commit_numbers'), {epoch}, count(*) FROM points
    RETURNING commit_no
), placed AS (
    SELECT p.*, s.run_id, s.rank, (row_number() OVER (PARTITION BY s.run_id, s.rank ORDER BY p.place) - 1) / 250 AS part
      FROM points p JOIN series s USING (series_id)
)
INSERT INTO hot_batches (epoch, commit_no, run_id, rank, points)
SELECT {epoch}, (SELECT commit_no FROM commit), run_id, rank,
       string_agg(int8send(series_id) || int8send(step) || timestamptz_send(time) || float8send(value), ''
                  ORDER BY place)
  FROM placed GROUP BY run_id, rank, part
"""


async def put_hot(
    connection: Connection, points: Points | Sequence[Point], *, epoch: int = 1, commit_no: int | None = None
) -> int:
    """Stores points of any series, and a commit that counts them: one of its own, or `commit_no`, which then counts
    these in addition. Returns its number."""
    points = points if isinstance(points, Points) else columns(list(points))
    async with connection.transaction():
        commit_no = await connection.fetchval(_COUNT, commit_no, epoch, len(points))
        await copy_batches(connection, points, epoch, commit_no)
    return commit_no


async def copy_batches(connection: Connection, points: Points, epoch: int, commit_no: int) -> None:
    """Stores points as batches of the runs and ranks of their series, for a commit that counts them already."""
    batches = _batches(points, await connection.fetch(_PRODUCERS, np.unique(points.series_id).tolist()))
    if batches:
        rows = EncodedBatches(batches).copy(epoch, commit_no, [True] * len(batches))
        await HotStore(connection).copy(epoch, rows)


def put_selected(query: str, *, epoch: int = 1) -> str:
    """The statement that stores the points of a query (series_id, step, time, value) as whole numbers, in a commit of
    their own, by SQL alone. Arguments of the query are arguments of the statement."""
    return _SELECTED.format(query=query, epoch=epoch)


def _batches(points: Points, producers: Sequence[asyncpg.Record]) -> list[BatchPoints]:
    owner = {series_id: (run_id, rank) for series_id, run_id, rank in producers}
    positions: dict[tuple[uuid.UUID, int], list[int]] = {}
    for position, series_id in enumerate(points.series_id.tolist()):
        # As of a run that was deleted for good.
        positions.setdefault(owner.get(series_id, (uuid.UUID(int=0), 0)), []).append(position)
    parts = {producer: points.take(np.array(found)) for producer, found in positions.items()}
    return [
        BatchPoints(run_id, rank, part.series_id, part.step, part.time + EPOCH_2000_UNIX_US, part.value)
        for (run_id, rank), part in parts.items()
    ]
