"""Rolls up a sealed epoch: its hot rows become segments and latest values, in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from runstream_service import threads
from runstream_service.rollup import hot_rows
from runstream_service.segments import encode
from runstream_service.segments.build import build_segments, split
from runstream_service.segments.points import Points, latest_points, put_in_order, series_starts
from runstream_service.storage.dedicated_connection import transaction

if TYPE_CHECKING:
    from runstream_service.rollup.metrics import RollupMetrics
    from runstream_service.segments.encode import EncodedSegments
    from runstream_service.segments.points import Int64Column
    from runstream_service.storage.database import Connection

log = structlog.get_logger()

# How much of a partition is in memory at once: 192 MiB of blocks are 3 million rows, which take 32 bytes each here. An
# epoch of the usual size is one piece.
PIECE_BYTES = 192 << 20

# How many points are cut and encoded at once; each takes about 60 bytes during that.
_PART_POINTS = 250_000

# How many series are in one statement. Its arguments are encoded on the event loop, which must not be held for more
# than a few milliseconds. A time passes through a codec in Python, an id does not.
_SERIES_AT_ONCE = 2_000
_LATEST_AT_ONCE = 500

_UPSERT_LATEST = """
INSERT INTO latest_values AS l (series_id, step, time, value)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::float8[])
    ON CONFLICT (series_id) DO UPDATE SET step = excluded.step, time = excluded.time, value = excluded.value
 WHERE (excluded.step, excluded.time, CASE excluded.value WHEN 'NaN' THEN 0 ELSE excluded.value END)
     > (l.step, l.time, CASE l.value WHEN 'NaN' THEN 0 ELSE l.value END)
"""

# The series that are marked for deletion, or gone already. Skipping them is not needed for correctness (purge waits for
# the watermark), but saves writing what will be deleted. Subqueries make it two look-ups by key per series, whatever
# the planner estimates: as a join it was quadratic before the first ANALYZE, and 100,000 series took two minutes. (A
# query for all marked series would be short, too, but its answer is long while a large run is purged.)
_DEAD_SERIES = """
SELECT wanted.series_id FROM unnest($1::bigint[]) AS wanted (series_id)
 WHERE (SELECT s.purge_epoch IS NULL AND (SELECT r.purge_epoch IS NULL FROM runs r WHERE r.run_id = s.run_id)
          FROM series s WHERE s.series_id = wanted.series_id) IS NOT TRUE
"""


@dataclass(slots=True)
class RollupResult:
    """The result of rolling up one epoch."""

    epoch: int
    read: int = 0  # rows of the partition
    points: int = 0  # that are in segments now
    segments: int = 0


async def roll(
    connection: Connection, metrics: RollupMetrics, *, piece_bytes: int = PIECE_BYTES
) -> RollupResult | None:
    """Roll up the oldest sealed epoch that no other replica is rolling up; None if there is none.

    A separate transaction makes it visible (epochs.publish). Otherwise readers would have to see the watermark and the
    segments in one snapshot, which several nodes do not share.
    """
    started = time.perf_counter()
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM epochs WHERE state = 'sealed')"):
        return None
    async with transaction(connection):
        # The replica that locks the row rolls up the epoch. If it dies, the row is unlocked and the epoch is still
        # sealed.
        epoch = await connection.fetchval(
            "SELECT epoch FROM epochs WHERE state = 'sealed' ORDER BY epoch LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        if epoch is None:
            return None
        rolled = RollupResult(epoch)
        for blocks in await hot_rows.block_ranges(connection, epoch, piece_bytes):
            await _roll_piece(connection, rolled, await hot_rows.read(connection, epoch, blocks))
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
        skipped=rolled.read - rolled.points,
        segments=rolled.segments,
        seconds=round(seconds, 3),
    )
    return rolled


async def _roll_piece(connection: Connection, rolled: RollupResult, points: Points) -> None:
    rolled.read += len(points)
    # In threads: numpy releases the interpreter while it sorts and computes, so the event loop can serve ingest.
    series = await threads.ROLLUP.run(_sort, points)
    dead = await _dead_series(connection, series)
    if dead:
        points = await threads.ROLLUP.run(_without, points, dead)
    for part in await threads.ROLLUP.run(split, points, _PART_POINTS):
        encoded, newest = await threads.ROLLUP.run(_prepare, part, rolled.epoch)
        rolled.points += len(part)
        rolled.segments += encoded.count
        await copy_segments(connection, encoded)
        await _upsert_latest(connection, newest)


def _sort(points: Points) -> Int64Column:
    """Put the points in order; returns their distinct series."""
    put_in_order(points)
    return points.series_id[series_starts(points)]


def _prepare(points: Points, epoch: int) -> tuple[EncodedSegments, Points]:
    return encode.encode(build_segments(points), epoch), latest_points(points)


def _without(points: Points, series: list[int]) -> Points:
    return points.take(~np.isin(points.series_id, series))


async def _dead_series(connection: Connection, series: Int64Column) -> list[int]:
    dead: list[int] = []
    for first in range(0, len(series), _SERIES_AT_ONCE):
        rows = await connection.fetch(_DEAD_SERIES, series[first : first + _SERIES_AT_ONCE].tolist())
        dead += [row["series_id"] for row in rows]
    return dead


async def copy_segments(connection: Connection, encoded: EncodedSegments) -> None:
    """COPY segments into their table."""

    async def source() -> AsyncIterator[bytes]:
        for chunk in encoded.chunks():
            yield chunk
            # Without this, the driver asks for the next chunk without a pause as long as the socket takes all data.
            await asyncio.sleep(0)

    copied = await connection.copy_to_table("metric_segments", source=source(), columns=encode.COLUMNS, format="binary")
    assert copied == f"COPY {encoded.count}", f"of {encoded.count} segments, PostgreSQL took {copied!r}"


async def _upsert_latest(connection: Connection, newest: Points) -> None:
    """Updates rows in the order of series, like the points, so that two replicas that roll up two epochs cannot
    deadlock."""
    for first in range(0, len(newest), _LATEST_AT_ONCE):
        part = newest.take(slice(first, first + _LATEST_AT_ONCE))
        await connection.execute(
            _UPSERT_LATEST, part.series_id.tolist(), part.step.tolist(), part.time.tolist(), part.value.tolist()
        )
