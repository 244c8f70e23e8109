"""Rolls a sealed epoch up: its hot rows become segments and latest values, in one transaction."""

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
from runstream_service.segments.cut import cut, parts
from runstream_service.segments.latest import latest
from runstream_service.segments.points import Points, put_in_order, series_starts
from runstream_service.storage.session import transaction

if TYPE_CHECKING:
    from runstream_service.rollup.metrics import RollupMetrics
    from runstream_service.segments.encode import EncodedSegments
    from runstream_service.segments.points import Int64Column
    from runstream_service.storage.database import Connection

log = structlog.get_logger()

# Hot rows that are in memory at once: 192 MiB of blocks are 3 million rows, which are 32 bytes each here. An epoch of
# the usual size is one piece.
PIECE_BYTES = 192 << 20

# Points that are cut and encoded at once, some 60 bytes each while that lasts.
_PART_POINTS = 250_000

# Series in one statement: its arguments are encoded on the event loop, which must not be held for more than a few
# milliseconds. A time goes through a codec in Python, an id does not.
_SERIES_AT_ONCE = 2_000
_LATEST_AT_ONCE = 500

_UPSERT_LATEST = """
INSERT INTO latest_values AS l (series_id, step, time, value)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::float8[])
    ON CONFLICT (series_id) DO UPDATE SET step = excluded.step, time = excluded.time, value = excluded.value
 WHERE (excluded.step, excluded.time, CASE excluded.value WHEN 'NaN' THEN 0 ELSE excluded.value END)
     > (l.step, l.time, CASE l.value WHEN 'NaN' THEN 0 ELSE l.value END)
"""

# Marked for deletion, or gone already. Not needed for being right (purge waits for the watermark), but why write what
# will be deleted? Subqueries, so that it is two lookups by key for each series whatever the planner believes: as a join
# it was quadratic before the first ANALYZE, and 100,000 series took two minutes. (To ask for all that are marked is
# short too, but while a large run is purged its answer is long.)
_DEAD_SERIES = """
SELECT wanted.series_id FROM unnest($1::bigint[]) AS wanted (series_id)
 WHERE (SELECT s.purge_epoch IS NULL AND (SELECT r.purge_epoch IS NULL FROM runs r WHERE r.run_id = s.run_id)
          FROM series s WHERE s.series_id = wanted.series_id) IS NOT TRUE
"""


@dataclass(slots=True)
class Rolled:
    """What became of an epoch."""

    epoch: int
    read: int = 0  # rows of the partition
    points: int = 0  # that are in segments now
    segments: int = 0


async def roll(connection: Connection, metrics: RollupMetrics, *, piece_bytes: int = PIECE_BYTES) -> Rolled | None:
    """Roll up the oldest sealed epoch that nobody else is at; None if there is none.

    It becomes visible by a transaction of its own (epochs.publish): readers would otherwise have to see the watermark
    and the segments in one snapshot, which several nodes do not share.
    """
    started = time.perf_counter()
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM epochs WHERE state = 'sealed')"):
        return None
    async with transaction(connection):
        # Whoever has the row rolls the epoch up; if he dies, the row is free and the epoch still sealed.
        epoch = await connection.fetchval(
            "SELECT epoch FROM epochs WHERE state = 'sealed' ORDER BY epoch LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        if epoch is None:
            return None
        rolled = Rolled(epoch)
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


async def _roll_piece(connection: Connection, rolled: Rolled, points: Points) -> None:
    rolled.read += len(points)
    # In threads: numpy lets go of the interpreter while it sorts and computes, and the event loop feeds ingest.
    series = await threads.ROLLUP.run(_sort, points)
    dead = await _dead_series(connection, series)
    if dead:
        points = await threads.ROLLUP.run(_without, points, dead)
    for part in await threads.ROLLUP.run(parts, points, _PART_POINTS):
        encoded, newest = await threads.ROLLUP.run(_prepare, part, rolled.epoch)
        rolled.points += len(part)
        rolled.segments += encoded.count
        await copy_segments(connection, encoded)
        await _upsert_latest(connection, newest)


def _sort(points: Points) -> Int64Column:
    """Put them in order; answers the series that they are of."""
    put_in_order(points)
    return points.series_id[series_starts(points)]


def _prepare(points: Points, epoch: int) -> tuple[EncodedSegments, Points]:
    return encode.encode(cut(points), epoch), latest(points)


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
            # As long as the socket takes all of it, the driver would ask for the next one without a pause.
            await asyncio.sleep(0)

    copied = await connection.copy_to_table("metric_segments", source=source(), columns=encode.COLUMNS, format="binary")
    assert copied == f"COPY {encoded.count}", f"of {encoded.count} segments, PostgreSQL took {copied!r}"


async def _upsert_latest(connection: Connection, newest: Points) -> None:
    """Ordered by series, as the points are: two replicas that roll up two epochs never wait for each other in a
    circle."""
    for first in range(0, len(newest), _LATEST_AT_ONCE):
        part = newest.take(slice(first, first + _LATEST_AT_ONCE))
        await connection.execute(
            _UPSERT_LATEST, part.series_id.tolist(), part.step.tolist(), part.time.tolist(), part.value.tolist()
        )
