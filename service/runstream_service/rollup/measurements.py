"""Measures how far roll-up is behind, and how much disk the database takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection, PooledConnection


@dataclass(frozen=True, slots=True)
class Backlog:
    """What readers still have to read from hot rows: the epochs after the visible one."""

    visible_epoch: int
    dropped_epoch: int
    points: int
    age_s: float  # of the oldest commit; 0 if there is none


async def measure_backlog(connection: Connection | PooledConnection) -> Backlog:
    """The watermarks, and the number and the age of the points in later epochs."""
    row = await connection.fetchrow(
        """
        SELECT w.visible_epoch, w.dropped_epoch, coalesce(sum(c.point_count), 0)::bigint AS points,
               greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(c.committed_at)), 0))::float8 AS age_s
          FROM watermark w LEFT JOIN commits c ON c.epoch > w.visible_epoch
         GROUP BY w.visible_epoch, w.dropped_epoch
        """
    )
    assert row is not None
    return Backlog(row["visible_epoch"], row["dropped_epoch"], row["points"], row["age_s"])


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes on disk, with indexes and TOAST."""

    database: int
    hot: int
    segments: int


async def measure_sizes(connection: Connection | PooledConnection) -> Sizes:
    """Reads the sizes of files, so it costs the same however many rows there are. A table that does not exist has size
    0: a partition may be dropped in the meantime."""
    row = await connection.fetchrow(
        """
        SELECT pg_database_size(current_database()) AS database,
               (SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint
                  FROM pg_inherits WHERE inhparent = to_regclass('metric_points_hot')) AS hot,
               coalesce(pg_total_relation_size(to_regclass('metric_segments')), 0) AS segments
        """
    )
    assert row is not None
    return Sizes(row["database"], row["hot"], row["segments"])
