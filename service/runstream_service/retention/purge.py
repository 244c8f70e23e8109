"""Deletes what was marked as deleted, when nothing can bring it back.

1. A series or run is marked with the highest epoch that had commits after its producers were fenced, and is out of
   every answer from then on (Runs.delete_series, and _mark_run below).
2. Its hot rows lie in that epoch or earlier ones. Roll-up still makes segments of them; when the watermark has reached
   the epoch, that is over.
3. Then segments go, some thousand at a time, then latest values and the series; at last the run with its ledger.

Series are locked first, in a statement of its own: a merge holds the same lock while it replaces segments, and a DELETE
that waits for it would not see what it inserts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.retention.metrics import RetentionMetrics
    from runstream_service.storage.database import Database

log = structlog.get_logger()

SQL = load("retention")

# About two million points when they are merged; 30 ms.
_SEGMENTS_AT_ONCE = 2_000
_SERIES_AT_ONCE = 500


@dataclass(slots=True)
class Purged:
    """What a round deleted for good."""

    runs: int = 0
    series: int = 0
    segments: int = 0
    points: int = 0


class Purge:
    """One round is all that can be purged now."""

    def __init__(self, database: Database, metrics: RetentionMetrics, *, purge_after_days: int) -> None:
        self._database = database
        self._metrics = metrics
        self._purge_after_days = purge_after_days

    async def round(self) -> Purged:
        """Mark runs whose grace period is over, then delete all that is marked and rolled up."""
        done = Purged()
        while await self._mark_run():
            pass
        while await self._delete_some(done):
            pass
        while await self._delete_run():
            done.runs += 1
        if done.series or done.runs:
            log.info(
                f"Purged {done.points:,} points",
                action="purged",
                runs=done.runs,
                series=done.series,
                segments=done.segments,
                points=done.points,
            )
        return done

    async def waiting(self) -> tuple[int, int]:
        """How many series and runs are marked and wait for roll-up."""
        row = await self._database.fetchrow(SQL["waiting"])
        assert row is not None
        return row["series"], row["runs"]

    async def _mark_run(self) -> bool:
        """Its producers were fenced when it was deleted, and since then it takes none."""
        async with self._database.transaction() as connection:
            run_id = await connection.fetchval(SQL["run_due"], self._purge_after_days)
            if run_id is not None:
                await connection.execute(SQL["mark_run"], run_id)
                await connection.execute(SQL["mark_series_of_run"], run_id)
        return run_id is not None

    async def _delete_some(self, done: Purged) -> bool:
        """One chunk. Says whether there was any."""
        async with self._database.transaction() as connection:
            series_ids = [row["series_id"] for row in await connection.fetch(SQL["doomed_series"], _SERIES_AT_ONCE)]
            if not series_ids:
                return False
            gone = await connection.fetchrow(SQL["delete_segments"], series_ids, _SEGMENTS_AT_ONCE)
            assert gone is not None
            empty = gone["segments"] < _SEGMENTS_AT_ONCE
            if empty:
                await connection.execute(SQL["delete_latest"], series_ids)
                await connection.execute(SQL["delete_series"], series_ids)
        done.segments += gone["segments"]
        done.points += gone["points"]
        done.series += len(series_ids) if empty else 0
        self._metrics.deleted("purge", segments=gone["segments"], points=gone["points"])
        self._metrics.purged_series(len(series_ids) if empty else 0)
        return True

    async def _delete_run(self) -> bool:
        async with self._database.transaction() as connection:
            run_id = await connection.fetchval(SQL["doomed_run"])
            if run_id is not None:
                await connection.execute(SQL["delete_producers"], run_id)
                await connection.execute(SQL["delete_run"], run_id)
                self._metrics.purged_run()
        return run_id is not None
