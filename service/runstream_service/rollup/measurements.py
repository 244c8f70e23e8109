"""Measures how far roll-up is behind, and how much disk the database takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.database.pool import layout_of
from runstream_service.stores.hot_store import HotStore
from runstream_service.stores.segment_store import SegmentStore

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection, PooledConnection


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far roll-up is behind. `points`: those after the visible epoch, which reads take from hot batches.
    `overdue_points`: those of epochs that should have been dropped by now."""

    visible_epoch: int
    dropped_epoch: int
    points: int
    age_s: float  # of the oldest commit after the visible epoch; 0 if there are none
    overdue_points: int


# How long a drop may be late before its points count as overdue: it may have to wait for short readers.
_OVERDUE_AFTER_S = 60.0


async def measure_backlog(connection: Connection | PooledConnection, *, max_read_age_s: float = 60.0) -> Backlog:
    """Read the watermarks and count the points. An epoch is overdue _OVERDUE_AFTER_S after no read needs it any
    more."""
    row = await connection.fetchrow(
        """
        SELECT w.visible_epoch, w.dropped_epoch,
               coalesce(sum(c.point_count) FILTER (WHERE c.epoch > w.visible_epoch), 0)::bigint AS points,
               greatest(0, coalesce(
                   extract(epoch FROM clock_timestamp() - min(c.committed_at) FILTER (WHERE c.epoch > w.visible_epoch)),
                   0))::float8 AS age_s,
               coalesce(sum(c.point_count) FILTER (
                   WHERE e.visible_at < clock_timestamp() - make_interval(secs => $1)), 0)::bigint AS overdue_points
          FROM watermark w
          LEFT JOIN epochs e ON e.epoch > w.dropped_epoch
          LEFT JOIN commits c USING (epoch)
         GROUP BY w.visible_epoch, w.dropped_epoch
        """,
        max_read_age_s + _OVERDUE_AFTER_S,
    )
    assert row is not None
    return Backlog(**row)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes on disk, with indexes and arrays that are stored outside of their rows (TOAST)."""

    database: int
    hot: int
    segments: int


async def measure_sizes(connection: Connection | PooledConnection) -> Sizes:
    """Measure the sizes of files, so it takes the same time however many rows there are. A partition that is dropped in
    the meantime counts as 0."""
    return Sizes(
        await connection.fetchval(f"SELECT {layout_of(connection).database_size}"),
        await HotStore(connection).size_bytes(),
        await SegmentStore(connection).size_bytes(),
    )
