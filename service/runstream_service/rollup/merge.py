"""Merges small segments of a series into large ones, when its run has ended or when it has many of them.

1. Only segments of epochs up to D, the highest dropped epoch, are merged. A reader whose watermark W is below D has to
   read again anyway, so no reader sees a part of the change. Segments that roll-up writes meanwhile have a higher
   epoch.
2. The series are locked first; those that are marked for deletion are left alone. All code that deletes segments locks
   the series before, in a separate statement: a DELETE that waited for the rows would not see the inserted ones.
3. Exactly the deleted points are inserted: they come from DELETE .. RETURNING, in the same transaction, and they are
   counted before COMMIT. The new segments have the highest epoch of the old ones.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from runstream_service.concurrency import threads
from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US
from runstream_service.database.dedicated_connection import transaction
from runstream_service.rollup.rollup import PointsMissing
from runstream_service.segments.build import MAX_POINTS, build_segments
from runstream_service.segments.decode import Segment, SegmentStream
from runstream_service.segments.encode import EncodedSegments, encode
from runstream_service.segments.points import Points, put_in_order
from runstream_service.stores.segment_store import SMALL_POINTS, MergeGroup, SegmentStore

if TYPE_CHECKING:
    import asyncpg

    from runstream_service.database.pool import Connection
    from runstream_service.rollup.metrics import RollupMetrics

log = structlog.get_logger()

# While its run is active, a series is merged only if that saves at least _LEAST_SAVED segments or makes _LEAST_FULL
# full ones, so that points of a slow series are not rewritten repeatedly.
_LEAST_SAVED = 8
_LEAST_FULL = 4

# The size of one transaction. It bounds memory, about 100 bytes per point, and how long the event loop is blocked:
# receiving 2,000 segments takes two milliseconds of Python.
_SEGMENTS_AT_ONCE = 2_000
_POINTS_AT_ONCE = 250_000
_YIELD_S = 0.0005
_GROUP_POINTS = 64 * MAX_POINTS
_EXAMINED_AT_ONCE = 500
# A VACUUM runs after this many segments were deleted: a number, plus a fraction of all segments.
_VACUUM_AT_LEAST = 1_000
_VACUUM_FRACTION = 0.03
# A search through all small segments begins when D has changed, or after this time, since runs may have ended.
_SEARCH_EVERY_S = 30.0

_LOCK_SERIES = """
SELECT s.series_id FROM series s
 WHERE s.series_id = ANY ($1::bigint[]) AND s.purge_epoch IS NULL
   AND (SELECT r.purge_epoch IS NULL FROM runs r WHERE r.run_id = s.run_id)
 ORDER BY s.series_id
   FOR NO KEY UPDATE SKIP LOCKED
"""


@dataclass(slots=True)
class _Group:
    """Small segments of one series, with no large one between them, that become one or more large segments."""

    series_id: int
    low: int  # the lowest first step of them
    high: int  # the highest first step of them
    segments: int = 0
    points: int = 0
    epoch: int = 0

    @property
    def segments_saved(self) -> int:
        return _segments_saved(self.segments, self.points)

    def numbered(self, number: int) -> MergeGroup:
        return MergeGroup(number, self.series_id, self.low, self.high)


class SegmentMerger:
    """Searches all series with small segments, some hundred at a time, and merges those that are worth it."""

    def __init__(self, metrics: RollupMetrics) -> None:
        self._metrics = metrics
        self._cursor = 0
        self._searched_epoch = -1
        self._search_again_at = 0.0
        self._deleted_since_vacuum = 0  # segments that were deleted since the last VACUUM

    async def merge(self, connection: Connection) -> bool:
        """Examine the next series, and merge those that are worth it. Returns whether any was merged."""
        if self._deleted_since_vacuum:
            await self._vacuum(connection)
        dropped_epoch = await connection.fetchval("SELECT dropped_epoch FROM watermark")
        if self._cursor == 0:
            if dropped_epoch == self._searched_epoch and time.monotonic() < self._search_again_at:
                return False
            self._searched_epoch, self._search_again_at = dropped_epoch, time.monotonic() + _SEARCH_EVERY_S
        examined = await SegmentStore(connection).small(self._cursor, dropped_epoch, _EXAMINED_AT_ONCE)
        chosen = _choose(examined)
        if chosen:
            self._cursor = chosen[-1]
            return await self._merge_series(connection, chosen)
        self._cursor = examined[-1]["series_id"] if len(examined) == _EXAMINED_AT_ONCE else 0
        return False

    async def _merge_series(self, connection: Connection, series: list[int]) -> bool:
        async with transaction(connection):
            locked = [row["series_id"] for row in await connection.fetch(_LOCK_SERIES, series)]
            dropped_epoch = await connection.fetchval("SELECT dropped_epoch FROM watermark")
            store = SegmentStore(connection)
            groups = _groups(await store.neighbours(locked, dropped_epoch))
            if not groups:
                return False
            taken = await store.take([group.numbered(number) for number, group in enumerate(groups)], dropped_epoch)
            # In a thread, as it takes tens of milliseconds of computing.
            merged, encoded = await threads.ROLLUP.run(_merge, taken, groups)
            await store.copy(encoded)
        self._deleted_since_vacuum += merged
        self._metrics.merged(merged)
        log.info(
            f"{merged:,} small segments became {encoded.count:,}",
            action="series_merged",
            series=len({group.series_id for group in groups}),
            merged=merged,
            segments=encoded.count,
        )
        return True

    async def _vacuum(self, connection: Connection) -> None:
        """Free the space of merged segments early, so that the next ones use it. Autovacuum checks only once a minute;
        by then, all segments of a large run may have been written a second time."""
        store = SegmentStore(connection)
        if self._deleted_since_vacuum < _VACUUM_AT_LEAST + _VACUUM_FRACTION * await store.count():
            return
        await store.vacuum()
        self._deleted_since_vacuum = 0


def _segments_saved(segments: int, points: int) -> int:
    return segments - -(-points // MAX_POINTS)


def _choose(examined: list[asyncpg.Record]) -> list[int]:
    """The first series that are worth merging; as many as fit into one transaction."""
    chosen: list[int] = []
    segments = points = 0
    for row in examined:
        if points >= _POINTS_AT_ONCE or segments >= _SEGMENTS_AT_ONCE:
            break
        segments_saved = _segments_saved(row["segments"], row["points"])
        enough = row["ended"] or segments_saved >= _LEAST_SAVED or row["points"] >= _LEAST_FULL * MAX_POINTS
        if segments_saved > 0 and enough:
            chosen.append(row["series_id"])
            segments += row["segments"]
            points += row["points"]
    return chosen


def _groups(segments: list[asyncpg.Record]) -> list[_Group]:
    """Divide segments, sorted by series and first step, into groups without a large segment in between: a merged
    segment that overlaps large ones would make charts coarse there."""
    groups: list[_Group] = []
    group: _Group | None = None
    count = points = 0
    for series_id, first_step, point_count, epoch in segments:
        if point_count >= SMALL_POINTS:
            group = None
            continue
        full = group is not None and (group.points >= _GROUP_POINTS or group.segments >= _SEGMENTS_AT_ONCE)
        if group is None or full or group.series_id != series_id:
            if points >= 2 * _POINTS_AT_ONCE or count >= 2 * _SEGMENTS_AT_ONCE:
                break
            group = _Group(series_id, first_step, first_step)
            groups.append(group)
        group.high = first_step
        group.segments += 1
        group.points += point_count
        group.epoch = max(group.epoch, epoch)
        count += 1
        points += point_count
    return [group for group in groups if group.segments_saved > 0]


def _merge(taken: list[bytes], groups: list[_Group]) -> tuple[int, EncodedSegments]:
    """Merge the segments of each group. Returns how many there were, and the new segments. Raises PointsMissing unless
    their points are as many as those of the groups."""
    stream = SegmentStream()
    found: list[Segment] = []
    for data in taken:
        found += stream.feed(data)
        # Without this, a thread that runs Python code would yield to the event loop only every 5 ms.
        time.sleep(_YIELD_S)
    stream.finish()
    expected, points = sum(group.points for group in groups), _points(found)
    if len(points) != expected:
        raise PointsMissing(f"small segments with {expected:,} points were to be merged, {len(points):,} were found")
    return len(found), _encode(points, groups)


def _points(found: list[Segment]) -> Points:
    """The points of all segments, sorted. In place of the series id they have the number of the group, until
    `_encode`."""
    sizes = [len(segment.value) for segment in found]
    points = Points(
        np.repeat([segment.owner for segment in found], sizes).astype(np.int64),
        np.concatenate([segment.step for segment in found if segment.step is not None]),
        np.concatenate([segment.time_unix_us for segment in found if segment.time_unix_us is not None]),
        np.concatenate([segment.value for segment in found]),
    )
    points.time -= EPOCH_2000_UNIX_US
    put_in_order(points)
    return points


def _encode(points: Points, groups: list[_Group]) -> EncodedSegments:
    segments = build_segments(points)
    numbers = segments.series_id
    segments.series_id = np.array([group.series_id for group in groups], np.int64)[numbers]
    return encode(segments, np.array([group.epoch for group in groups], np.int64)[numbers])
