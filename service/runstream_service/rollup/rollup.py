"""Rolls up a sealed epoch: turns its hot batches into segments, in one transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from runstream_service.concurrency import threads
from runstream_service.database.copy_rows import RowFormat, pieces
from runstream_service.database.dedicated_connection import transaction
from runstream_service.database.pool import layout_of
from runstream_service.segments import encode
from runstream_service.segments.best_values import best_values
from runstream_service.segments.build import build_segments, split
from runstream_service.segments.points import Points, latest_points, put_in_order, series_starts
from runstream_service.stores.hot_store import CommitRange, HotStore
from runstream_service.stores.segment_store import SegmentStore

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection
    from runstream_service.rollup.metrics import RollupMetrics
    from runstream_service.segments.encode import EncodedSegments
    from runstream_service.segments.points import Int64Column

log = structlog.get_logger()

# How many points are in memory at once; each takes 48 bytes. An epoch of the usual size is one piece.
PIECE_POINTS = 3_000_000

# How many points are cut into segments and encoded at once; each takes about 60 bytes during that.
_PART_POINTS = 250_000

# How many series are in one statement. Its arguments are encoded on the event loop, which must not be blocked for more
# than a few milliseconds.
_SERIES_AT_ONCE = 2_000

_LATEST_COLUMNS = {
    "epoch": ">i4",
    "series_id": ">i8",
    "step": ">i8",
    "time": ">i8",
    "value": ">f8",
    "min_value": ">f8",
    "min_step": ">i8",
    "max_value": ">f8",
    "max_step": ">i8",
}
_LATEST = RowFormat(list(_LATEST_COLUMNS.items()))

# The series of $1 that are marked for deletion, or deleted already. Skipping them is not needed for correctness, since
# purge waits for the watermark, but saves writing what will be deleted. Subqueries make it two look-ups by key per
# series, whatever the planner estimates: a join was quadratic before the first ANALYZE, and took two minutes for
# 100,000 series. (A query for all marked series would be fast, too, but its result is long while a large run is
# purged.)
_DEAD_SERIES = """
SELECT wanted.series_id FROM unnest($1::bigint[]) AS wanted (series_id)
 WHERE (SELECT s.purge_epoch IS NULL AND (SELECT r.purge_epoch IS NULL FROM runs r WHERE r.run_id = s.run_id)
          FROM series s WHERE s.series_id = wanted.series_id) IS NOT TRUE
"""


class PointsMissing(Exception):
    """Fewer or more points are stored than were acknowledged. Roll-up stops at that epoch, so that nothing is
    dropped."""


@dataclass(slots=True)
class RollupResult:
    """The result of rolling up one epoch."""

    epoch: int
    read: int = 0  # points that were read
    skipped: int = 0  # points of series that are being deleted
    points: int = 0  # points that are in segments now
    segments: int = 0  # segments that were written


async def roll(
    connection: Connection, metrics: RollupMetrics, *, piece_points: int = PIECE_POINTS
) -> RollupResult | None:
    """Roll up the oldest sealed epoch that no other replica is rolling up; None if there is none.

    A separate transaction makes it visible (epochs.publish). In one transaction, readers would have to see the
    watermark and the segments in one snapshot, which the nodes of a cluster do not share.

    Raises:
        PointsMissing: the epoch has not the points that were acknowledged; nothing was changed.
    """
    started = time.perf_counter()
    sealed = [row["epoch"] for row in await connection.fetch("SELECT epoch FROM epochs WHERE state = 'sealed'")]
    if not sealed:
        return None
    await layout_of(connection).settle(connection)  # now all commits of these epochs can be read
    async with transaction(connection):
        # The replica that locks the row rolls up the epoch. If it dies, the row is unlocked and the epoch is still
        # sealed.
        epoch = await connection.fetchval(
            "SELECT epoch FROM epochs WHERE state = 'sealed' AND epoch = ANY ($1::int[]) "
            "ORDER BY epoch LIMIT 1 FOR UPDATE SKIP LOCKED",
            sealed,
        )
        if epoch is None:
            return None
        rolled = RollupResult(epoch)
        store = HotStore(connection)
        for commits in await store.commit_ranges(epoch, piece_points):
            await _roll_piece(connection, rolled, await _read(store, epoch, commits))
        if rolled.points + rolled.skipped != rolled.read:
            raise PointsMissing(
                f"epoch {epoch}: of {rolled.read:,} points, {rolled.points:,} would be in segments; nothing "
                "is changed. This is a bug: please report it"
            )
        await connection.execute(
            "UPDATE epochs SET state = 'rolled', rolled_at = clock_timestamp(), point_count = $2, segment_count = $3 "
            "WHERE epoch = $1",
            epoch,
            rolled.points,
            rolled.segments,
        )
    seconds = time.perf_counter() - started
    metrics.epoch_rolled(rolled.points, rolled.segments, seconds)
    log.info(
        f"Epoch {epoch} is rolled up: {rolled.points:,} points in {rolled.segments:,} segments",
        action="epoch_rolled",
        epoch=epoch,
        points=rolled.points,
        skipped=rolled.skipped,
        segments=rolled.segments,
        seconds=round(seconds, 3),
    )
    return rolled


async def _read(store: HotStore, epoch: int, commits: CommitRange) -> Points:
    """The points of a range of commits. Raises PointsMissing unless they are as many as were acknowledged."""
    points = await store.read(epoch, commits)
    if len(points) != commits.points:
        raise PointsMissing(
            f"epoch {epoch}: the commits {commits.first} to {commits.last} had {commits.points:,} points, and "
            f"{len(points):,} are stored; nothing is rolled up or dropped until that is explained"
        )
    return Points(points.series_id, points.step, points.time, points.value)


async def _roll_piece(connection: Connection, rolled: RollupResult, points: Points) -> None:
    rolled.read += len(points)
    # Work in threads: numpy releases the interpreter while it sorts and computes, so the event loop can serve ingest.
    series = await threads.ROLLUP.run(_sort, points)
    dead = await _dead_series(connection, series)
    if dead:
        kept = await threads.ROLLUP.run(_without, points, dead)
        rolled.skipped += len(points) - len(kept)
        points = kept
    for part in await threads.ROLLUP.run(split, points, _PART_POINTS):
        encoded, latest = await threads.ROLLUP.run(_prepare, part, rolled.epoch)
        rolled.points += len(part)
        rolled.segments += encoded.count
        await SegmentStore(connection).copy(encoded)
        await connection.copy_to_table(
            "unpublished_latest_values", source=pieces(latest), columns=tuple(_LATEST_COLUMNS), format="binary"
        )


def _sort(points: Points) -> Int64Column:
    """Sort the points in place; returns their distinct series."""
    put_in_order(points)
    return points.series_id[series_starts(points)]


def _prepare(points: Points, epoch: int) -> tuple[EncodedSegments, bytes]:
    return encode.encode(build_segments(points), epoch), _encoded_latest(points, epoch)


def _encoded_latest(points: Points, epoch: int) -> bytes:
    """The latest point and the best values of each series, as a COPY for unpublished_latest_values, where they stay
    until epochs.publish."""
    newest = latest_points(points)
    best = best_values(points.value, points.step, series_starts(points))
    return _LATEST.copy(
        {
            "epoch": np.full(len(newest), epoch),
            "series_id": newest.series_id,
            "step": newest.step,
            "time": newest.time,
            "value": newest.value,
            "min_value": best.min_value,
            "min_step": best.min_step,
            "max_value": best.max_value,
            "max_step": best.max_step,
        }
    )


def _without(points: Points, series: list[int]) -> Points:
    return points.take(~np.isin(points.series_id, series))


async def _dead_series(connection: Connection, series: Int64Column) -> list[int]:
    dead: list[int] = []
    for first in range(0, len(series), _SERIES_AT_ONCE):
        rows = await connection.fetch(_DEAD_SERIES, series[first : first + _SERIES_AT_ONCE].tolist())
        dead += [row["series_id"] for row in rows]
    return dead
